/* The C layout of loopx._transport_base.TransportBase: asyncio.BaseTransport's one slot.
 * Included by _transport_base.c, which makes the type, and by _core.pyx, which extends it. */
#ifndef LOOPX_TRANSPORT_BASE_H
#define LOOPX_TRANSPORT_BASE_H

#include <Python.h>

typedef struct {
    PyObject_HEAD
    PyObject *_extra;
} LoopxTransportBase;

#endif

/* TransportBase: a C type over asyncio.BaseTransport that native transports can extend.
 *
 * asyncio's transports are Python classes. A native type may have one as its first base only
 * through a type whose destructor does not call the Python class's own (which would call back
 * for ever), and which knows its one slot. That is all there is here; Cython cannot write such a
 * type. Which of asyncio.Transport, ReadTransport and so on a transport is, it adds as a second
 * base: those classes have no slots.
 * Owns no state; used at import only.
 */
#include "transports/transport_base.h"

static int
base_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((LoopxTransportBase *)self)->_extra);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int
base_clear(PyObject *self)
{
    Py_CLEAR(((LoopxTransportBase *)self)->_extra);
    return 0;
}

static void
base_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    base_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot base_slots[] = {
    {Py_tp_doc, "Base of native transports: asyncio.BaseTransport with a C layout."},
    {Py_tp_traverse, base_traverse},
    {Py_tp_clear, base_clear},
    {Py_tp_dealloc, base_dealloc},
    {0, NULL},
};

static PyType_Spec base_spec = {
    .name = "loopx._transport_base.TransportBase",
    .basicsize = sizeof(LoopxTransportBase),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = base_slots,
};

static int
add_transport_base(PyObject *module)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL) {
        return -1;
    }
    PyObject *transport = PyObject_GetAttrString(asyncio, "BaseTransport");
    Py_DECREF(asyncio);
    if (transport == NULL) {
        return -1;
    }
    if (((PyTypeObject *)transport)->tp_basicsize != sizeof(LoopxTransportBase)) {
        Py_DECREF(transport);
        PyErr_SetString(PyExc_ImportError,
                        "asyncio.BaseTransport has another layout than loopx was written for; "
                        "this version of Python needs a newer loopx");
        return -1;
    }
    PyObject *bases = PyTuple_Pack(1, transport);
    Py_DECREF(transport);
    if (bases == NULL) {
        return -1;
    }
    PyObject *type = PyType_FromSpecWithBases(&base_spec, bases);
    Py_DECREF(bases);
    int result = type == NULL ? -1 : PyModule_AddObjectRef(module, "TransportBase", type);
    Py_XDECREF(type);
    return result;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, add_transport_base},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "loopx._transport_base",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__transport_base(void)
{
    return PyModuleDef_Init(&module_definition);
}

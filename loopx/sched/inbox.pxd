# The inbox: what other threads hand to a loop. Any thread pushes, only the loop's thread drains.
# A stack of intrusive nodes that is emptied whole, so that no thread ever waits and no node is
# compared after it was freed; draining turns it round, so order is first in, first out.
# The wake-up is latched: the loop announces that it is about to sleep, and the first producer
# that sees this withdraws the announcement and pays for the one wake-up; the rest pay nothing.

cdef struct InboxNode:
    InboxNode *next


cdef struct Inbox:
    InboxNode *newest
    int asleep         # 1 from announce_sleep until a producer or the loop itself withdraws it

cdef extern from * nogil:
    """
    #define loopx_exchange_node(place, value) \\
        __atomic_exchange_n((place), (value), __ATOMIC_SEQ_CST)
    #define loopx_load_node(place) __atomic_load_n((place), __ATOMIC_SEQ_CST)
    #define loopx_replace_node(place, expected, value) \\
        __atomic_compare_exchange_n((place), (expected), (value), 0, \\
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
    #define loopx_load_int(place) __atomic_load_n((place), __ATOMIC_SEQ_CST)
    #define loopx_add_int(place, value) __atomic_add_fetch((place), (value), __ATOMIC_SEQ_CST)
    #define loopx_exchange_int(place, value) \\
        __atomic_exchange_n((place), (value), __ATOMIC_SEQ_CST)
    """
    InboxNode *loopx_exchange_node(InboxNode **place, InboxNode *value)
    InboxNode *loopx_load_node(InboxNode **place)
    bint loopx_replace_node(InboxNode **place, InboxNode **expected, InboxNode *value)
    int loopx_exchange_int(int *place, int value)
    int loopx_load_int(int *place)
    int loopx_add_int(int *place, int value)


cdef inline bint inbox_empty(Inbox *inbox) noexcept nogil:
    return loopx_load_node(&inbox.newest) == NULL


cdef inline bint inbox_withdraw_sleep(Inbox *inbox) noexcept nogil:
    """True for the one caller that has to wake the loop (or, in the loop, that nobody did)."""
    # Looked at first: most callers find a loop that is awake, and need not own the cache line.
    return loopx_load_int(&inbox.asleep) == 1 and loopx_exchange_int(&inbox.asleep, 0) == 1


cdef inline bint inbox_push(Inbox *inbox, InboxNode *node) noexcept nogil:
    """Hand over a node; True when the caller must wake the loop."""
    node.next = loopx_load_node(&inbox.newest)
    while not loopx_replace_node(&inbox.newest, &node.next, node):
        pass
    return inbox_withdraw_sleep(inbox)


cdef inline bint inbox_announce_sleep(Inbox *inbox) noexcept nogil:
    """Say that the loop is about to wait; False when something has come in and it must not."""
    loopx_exchange_int(&inbox.asleep, 1)
    if inbox_empty(inbox):
        return True
    inbox_withdraw_sleep(inbox)
    return False


cdef inline InboxNode *inbox_drain(Inbox *inbox) noexcept nogil:
    """Everything that came in, oldest first, linked by `next`; NULL when there is nothing."""
    cdef InboxNode *node = loopx_exchange_node(&inbox.newest, NULL)
    cdef InboxNode *oldest = NULL
    cdef InboxNode *following
    while node != NULL:
        following = node.next
        node.next = oldest
        oldest = node
        node = following
    return oldest

// The side of an AsyncCall that an asyncio task sees while it waits: a future. Its only callback is
// as a rule the task's own, so that is kept in the object and no list is made.
//
// `_asyncio_future_blocking` belongs to the instance and not to the type: asyncio.isfuture looks for
// it on the type, and the call must count as a coroutine until somebody awaits it.
#pragma once

#include <Python.h>

namespace millpond::bindings {

PyObject* call_getattro(PyObject* self, PyObject* name);
int call_setattro(PyObject* self, PyObject* name, PyObject* value);

PyObject* call_get_loop(PyObject* self, PyObject*);
PyObject* call_add_done_callback(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                 PyObject* names);
PyObject* call_remove_done_callback(PyObject* self, PyObject* callback);
PyObject* call_cancel(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names);
PyObject* call_cancelled(PyObject* self, PyObject*);
PyObject* call_done(PyObject* self, PyObject*);
PyObject* call_result(PyObject* self, PyObject*);
PyObject* call_exception(PyObject* self, PyObject*);

// What asyncio's repr, its debug mode and inspect read from a coroutine and from a future.
extern PyGetSetDef call_getset[];

// What the call is named after: its owner's __qualname__. New reference, or null.
PyObject* call_name(PyObject* self);

// Called once at import. 0, or -1 with an exception set.
[[nodiscard]] int init_future_face();

}  // namespace millpond::bindings

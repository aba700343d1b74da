#include "hot/ready.hpp"

#include "hot/coroutine.hpp"
#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

struct ReadyObject {
    PyObject_HEAD PyObject* value;  // null once awaited, thrown into or closed
};

PyTypeObject* ready_type = nullptr;
FreeList<ReadyObject, 256> free_ready;

ReadyObject* ready(PyObject* self) { return reinterpret_cast<ReadyObject*>(self); }

// The value, or null with RuntimeError set as for a coroutine that is awaited twice.
PyObject* take_value(ReadyObject* self) {
    PyObject* value = self->value;
    if (value == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return nullptr;
    }
    self->value = nullptr;
    return value;
}

PySendResult ready_am_send(PyObject* self, PyObject* sent, PyObject** result) {
    if (sent != nullptr && sent != Py_None && ready(self)->value != nullptr) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        *result = nullptr;
        return PYGEN_ERROR;
    }
    *result = take_value(ready(self));
    return *result != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
}

PyObject* ready_iternext(PyObject* self) {
    PyObject* value = take_value(ready(self));
    return value != nullptr ? leave_with(value) : nullptr;
}

PyObject* ready_await(PyObject* self) { return Py_NewRef(self); }

PyObject* ready_send(PyObject* self, PyObject* sent) {
    PyObject* result = nullptr;
    const PySendResult status = ready_am_send(self, sent, &result);
    return finish_send(status, result);
}

PyObject* ready_throw(PyObject* self, PyObject* const* args, Py_ssize_t count) {
    Ref value(take_value(ready(self)));
    if (value) {
        set_thrown(args, count);
    }
    return nullptr;
}

PyObject* ready_close(PyObject* self, PyObject*) {
    Py_CLEAR(ready(self)->value);
    Py_RETURN_NONE;
}

PyObject* ready_dunder_await(PyObject* self, PyObject*) { return Py_NewRef(self); }

PyObject* ready_name(PyObject*, void*) { return PyUnicode_FromString("cached"); }

PyObject* ready_none(PyObject*, void*) { Py_RETURN_NONE; }

PyObject* ready_false(PyObject*, void*) { Py_RETURN_FALSE; }

int ready_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(ready(self)->value);
    return 0;
}

int ready_clear(PyObject* self) {
    Py_CLEAR(ready(self)->value);
    return 0;
}

void ready_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    Py_CLEAR(ready(self)->value);
    drop_carried();
    release_object(ready(self), free_ready);
}

PyMethodDef ready_methods[] = {
    method("send", ready_send, METH_O, "Return the value, as StopIteration."),
    method("throw", ready_throw, METH_FASTCALL, "Raise the exception here."),
    method("close", ready_close, METH_NOARGS, "Drop the value."),
    method("__await__", ready_dunder_await, METH_NOARGS, "Return self."),
    {nullptr, nullptr, 0, nullptr},
};

// What asyncio's repr, its debug mode and inspect.getcoroutinestate read from a coroutine.
PyGetSetDef ready_getset[] = {
    {"__name__", ready_name, nullptr, nullptr, nullptr},
    {"__qualname__", ready_name, nullptr, nullptr, nullptr},
    {"cr_frame", ready_none, nullptr, nullptr, nullptr},
    {"cr_code", ready_none, nullptr, nullptr, nullptr},
    {"cr_await", ready_none, nullptr, nullptr, nullptr},
    {"cr_origin", ready_none, nullptr, nullptr, nullptr},
    {"cr_running", ready_false, nullptr, nullptr, nullptr},
    {"cr_suspended", ready_false, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace

PyObject* make_ready(PyObject* value) {
    ReadyObject* self = free_ready.take(ready_type);
    if (self == nullptr) {
        Py_DECREF(value);
        return nullptr;
    }
    self->value = value;
    if (PyType_IS_GC(Py_TYPE(value))) {  // No cycle leads through a str or a number.
        PyObject_GC_Track(as_object(self));
    }
    return as_object(self);
}

int init_ready() {
    if (ready_type != nullptr) {
        return 0;
    }
    PyType_Slot slots[] = {
        slot(Py_tp_dealloc, ready_dealloc),
        slot(Py_tp_traverse, ready_traverse),
        slot(Py_tp_clear, ready_clear),
        slot(Py_tp_iternext, ready_iternext),
        slot(Py_am_await, ready_await),
        slot(Py_am_send, ready_am_send),
        {Py_tp_methods, ready_methods},
        {Py_tp_getset, ready_getset},
        {0, nullptr},
    };
    PyType_Spec spec = {"millpond.ReadyCall", sizeof(ReadyObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    ready_type = make_heap_type(nullptr, spec);
    return ready_type != nullptr ? register_coroutine(ready_type) : -1;
}

}  // namespace millpond::bindings

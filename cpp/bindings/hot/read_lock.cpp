#include "hot/read_lock.hpp"

#include <cmath>

#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

struct LockObject {
    PyObject_HEAD PyThread_type_lock lock;
    bool taken;
};

PyTypeObject* g_type = nullptr;

LockObject* as_lock(PyObject* object) { return reinterpret_cast<LockObject*>(object); }

// Below zero: for as long as it takes. Whether it was taken.
bool take(LockObject* self, PY_TIMEOUT_T micros) noexcept {
    PyLockStatus status = PyThread_acquire_lock_timed(self->lock, 0, 0);
    if (status != PY_LOCK_ACQUIRED && micros != 0) {
        Py_BEGIN_ALLOW_THREADS status = PyThread_acquire_lock_timed(self->lock, micros, 0);
        Py_END_ALLOW_THREADS
    }
    const bool taken = status == PY_LOCK_ACQUIRED;
    self->taken |= taken;
    return taken;
}

PyObject* lock_acquire(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "acquire() takes a timeout");
        return nullptr;
    }
    const double seconds = count == 0 ? -1 : PyFloat_AsDouble(args[0]);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    constexpr double kLongest = 1e6;
    const bool for_ever = count == 0 || !(seconds < kLongest);
    return PyBool_FromLong(take(
        as_lock(object), for_ever ? -1 : static_cast<PY_TIMEOUT_T>(std::fmax(0, seconds) * 1e6)));
}

PyObject* lock_release(PyObject* object, PyObject*) {
    if (!as_lock(object)->taken) {
        PyErr_SetString(PyExc_RuntimeError, "release() of a lock that nobody has taken");
        return nullptr;
    }
    give_read_lock(object);
    Py_RETURN_NONE;
}

PyObject* lock_enter(PyObject* object, PyObject*) {
    take_read_lock(object);
    return Py_NewRef(object);
}

PyObject* lock_exit(PyObject* object, PyObject* const*, Py_ssize_t) {
    return lock_release(object, nullptr);
}

PyObject* lock_new(PyTypeObject* type, PyObject*, PyObject*) {
    PyObject* const object = type->tp_alloc(type, 0);
    if (object != nullptr) {
        as_lock(object)->lock = PyThread_allocate_lock();
        if (as_lock(object)->lock == nullptr) {
            Py_DECREF(object);
            return PyErr_NoMemory();
        }
    }
    return object;
}

void lock_dealloc(PyObject* object) {
    if (as_lock(object)->lock != nullptr) {
        if (as_lock(object)->taken) {
            PyThread_release_lock(as_lock(object)->lock);
        }
        PyThread_free_lock(as_lock(object)->lock);
    }
    release_object(as_lock(object));
}

PyMethodDef g_methods[] = {
    method("acquire", lock_acquire, METH_FASTCALL,
           "acquire($self, timeout=-1, /)\n--\n\nTake it; whether that was done in so many "
           "seconds."),
    method("release", lock_release, METH_NOARGS, "release($self, /)\n--\n\nGive it back."),
    method("__enter__", lock_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nTake it."),
    method("__exit__", lock_exit, METH_FASTCALL,
           "__exit__($self, kind, error, traceback, /)\n--\n\nGive it back."),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, lock_new),
    slot(Py_tp_dealloc, lock_dealloc),
    {Py_tp_methods, g_methods},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.ReadLock", sizeof(LockObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_read_lock(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }

void take_read_lock(PyObject* lock) noexcept { static_cast<void>(take(as_lock(lock), -1)); }

void give_read_lock(PyObject* lock) noexcept {
    as_lock(lock)->taken = false;
    PyThread_release_lock(as_lock(lock)->lock);
}

int init_read_lock(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "ReadLock", as_object(g_type));
}

}  // namespace millpond::bindings

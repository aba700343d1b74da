#include "mapped_stamp.hpp"

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "../translate_error.hpp"
#include "heap_type.hpp"
#include "millpond/base/mapped_stamp.hpp"

namespace millpond::bindings {
namespace {

struct StampObject {
    PyObject_HEAD MappedStamp* stamp;  // owned
};

PyTypeObject* g_type = nullptr;

MappedStamp& stamp_of(PyObject* object) noexcept {
    return *reinterpret_cast<StampObject*>(object)->stamp;
}

PyObject* stamp_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
    PyObject* path = nullptr;
    if (kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "MappedStamp() takes no keyword arguments");
        return nullptr;
    }
    if (!PyArg_ParseTuple(args, "O:MappedStamp", &path)) {
        return nullptr;
    }
    PyObject* bytes = nullptr;
    if (PyUnicode_FSConverter(path, static_cast<void*>(&bytes)) == 0) {
        return nullptr;
    }
    const Ref encoded(bytes);
    PyObject* const object = type->tp_alloc(type, 0);
    if (object == nullptr) {
        return nullptr;
    }
    try {
        reinterpret_cast<StampObject*>(object)->stamp =
            new MappedStamp(std::string(PyBytes_AS_STRING(bytes)));
        return object;
    } catch (const std::system_error& error) {
        // OSError of its own kind, as what Python itself opens would raise it.
        errno = error.code().value();
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    } catch (...) {
        raise_current_exception();
    }
    Py_DECREF(object);
    return nullptr;
}

void stamp_dealloc(PyObject* object) {
    delete std::exchange(reinterpret_cast<StampObject*>(object)->stamp, nullptr);
    release_object(object);
}

// Eight read-only bytes; the buffer keeps the stamp alive, and so the memory.
int stamp_buffer(PyObject* object, Py_buffer* view, int flags) {
    // What takes a pointer that it could write through is told not to.
    auto* const word = const_cast<std::uint64_t*>(stamp_of(object).word());
    return PyBuffer_FillInfo(view, object, word, sizeof *word, /*readonly=*/1, flags);
}

PyObject* stamp_value(PyObject* object, PyObject*) {
    return PyLong_FromUnsignedLongLong(stamp_of(object).value());
}

PyObject* stamp_advance(PyObject* object, PyObject* sequence) {
    const unsigned long long value = PyLong_AsUnsignedLongLong(sequence);
    if (value == ~0ULL && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    return PyLong_FromUnsignedLongLong(stamp_of(object).advance(value));
}

PyObject* stamp_announced(PyObject* object, PyObject*) {
    return PyLong_FromUnsignedLongLong(stamp_of(object).announced());
}

PyObject* stamp_restart(PyObject* object, PyObject*) {
    stamp_of(object).restart();
    Py_RETURN_NONE;
}

PyObject* stamp_epoch(PyObject* object, PyObject*) {
    return PyLong_FromUnsignedLongLong(stamp_of(object).epoch());
}

PyObject* stamp_address(PyObject* object, void*) {
    return PyLong_FromVoidPtr(const_cast<std::uint64_t*>(stamp_of(object).word()));
}

PyMethodDef g_methods[] = {
    method("value", stamp_value, METH_NOARGS, "value($self, /)\n--\n\nThe number."),
    method("advance", stamp_advance, METH_O,
           "advance($self, sequence, /)\n--\n\n"
           "Say that a log is committed up to `sequence`; the number changes, and is returned."),
    method("announced", stamp_announced, METH_NOARGS,
           "announced($self, /)\n--\n\nThe highest sequence that anybody advanced to."),
    method("restart", stamp_restart, METH_NOARGS,
           "restart($self, /)\n--\n\n"
           "For a new log, which counts from the start again: number and epoch change."),
    method("epoch", stamp_epoch, METH_NOARGS,
           "epoch($self, /)\n--\n\nChanges when the file beside it is another than before."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef g_attributes[] = {
    {"address", stamp_address, nullptr, "Where the number is in memory, while the stamp lives.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, stamp_new),
    slot(Py_tp_dealloc, stamp_dealloc),
    slot(Py_bf_getbuffer, stamp_buffer),
    {Py_tp_methods, g_methods},
    {Py_tp_getset, g_attributes},
    {Py_tp_doc,
     const_cast<char*>(
         "MappedStamp(path, /)\n--\n\n"
         "A number that processes share through a small memory-mapped file. Its buffer is the\n"
         "number itself: 8 bytes that change.\n\n"
         "Raises:\n"
         "    OSError: the file cannot be opened, made or mapped.\n"
         "    SnapshotError: the file is something else; it is left as it is.\n")},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.MappedStamp", sizeof(StampObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

MappedStamp* mapped_stamp(PyObject* object) noexcept {
    return Py_IS_TYPE(object, g_type) ? &stamp_of(object) : nullptr;
}

int init_mapped_stamp(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "MappedStamp", as_object(g_type));
}

}  // namespace millpond::bindings

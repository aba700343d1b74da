// A cached failure: what an entry holds instead of a value when its load raised an exception that
// the function caches (`negative_ttl=`). A hit on it raises the exception again.
#pragma once

#include <Python.h>

namespace millpond::bindings {

struct NegativeObject {
    PyObject_HEAD PyObject* exception;
    PyObject* traceback;  // as it was when first raised, or null: raising again does not extend it
};

[[nodiscard]] PyTypeObject* negative_type() noexcept;
[[nodiscard]] inline bool is_negative(PyObject* value) noexcept {
    return value != nullptr && Py_TYPE(value) == negative_type();
}
// New reference, or null with MemoryError set.
[[nodiscard]] PyObject* make_negative(PyObject* exception);
// Sets the exception; always returns null.
PyObject* raise_negative(PyObject* negative);

[[nodiscard]] int init_negative(PyObject* module);

}  // namespace millpond::bindings

#include "hot/stored_library.hpp"

#include "hot/canonical_types.hpp"

namespace millpond::bindings {
namespace {

bool is_below(PyTypeObject* type, const char* base_name) {
    PyTypeObject* const base = known_type("enum", base_name);
    return base != nullptr && PyType_IsSubtype(type, base) != 0;
}

}  // namespace

PyObject* enum_member(PyTypeObject* type, PyObject* name) {
    if (!PyUnicode_CheckExact(name)) return nullptr;
    const Ref map_name(PyUnicode_InternFromString("_member_map_"));
    // Along the bases, past the metaclass and any descriptor.
    PyObject* const map = map_name ? _PyType_Lookup(type, map_name.get()) : nullptr;
    PyObject* const found =
        map != nullptr && PyDict_CheckExact(map) ? PyDict_GetItemWithError(map, name) : nullptr;
    if (found == nullptr || Py_TYPE(found) != type) {
        PyErr_Clear();
        return nullptr;
    }
    return found;
}

bool is_enum(PyTypeObject* type) { return is_below(type, "Enum"); }
bool is_flag(PyTypeObject* type) { return is_below(type, "Flag"); }

}  // namespace millpond::bindings

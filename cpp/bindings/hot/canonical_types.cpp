#include "hot/canonical_types.hpp"

#include <datetime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "hot/canonical_text.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {
namespace {

struct Entry {
    PyTypeObject* type = nullptr;
    unsigned version = 0;
    std::shared_ptr<const TypeInfo> info;
};

// A type's version is never given to another state of any type, so an entry that outlives its type
// is merely useless, and no reference to the type is needed.
constexpr std::size_t kEntries = 1024;

unsigned version_of(PyTypeObject* type) noexcept {
#if PY_VERSION_HEX < 0x030D0000
    if (!PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG)) return 0;
#endif
    return type->tp_version_tag;
}

// Looks along the bases, past the metaclass and any descriptor: runs nothing. Borrowed.
PyObject* class_attribute(PyTypeObject* type, const char* name) {
    const Ref text(PyUnicode_InternFromString(name));
    if (!text) {
        PyErr_Clear();
        return nullptr;
    }
    return _PyType_Lookup(type, text.get());
}

bool is_known(PyTypeObject* type, const char* module_name, const char* name) {
    return known_type(module_name, name) == type;
}

bool is_below(PyTypeObject* type, const char* module_name, const char* name) {
    PyTypeObject* const base = known_type(module_name, name);
    return base != nullptr && PyType_IsSubtype(type, base) != 0;
}

Kind builtin_kind(PyTypeObject* type) {
    struct Row {
        PyTypeObject* type;
        Kind kind;
    };
    const std::array rows{
        Row{&PyUnicode_Type, Kind::Str},     Row{&PyLong_Type, Kind::Int},
        Row{&PyFloat_Type, Kind::Float},     Row{&PyDict_Type, Kind::Dict},
        Row{&PyList_Type, Kind::List},       Row{&PyTuple_Type, Kind::Tuple},
        Row{&PyBytes_Type, Kind::Bytes},     Row{&PyByteArray_Type, Kind::ByteArray},
        Row{&PySet_Type, Kind::Set},         Row{&PyFrozenSet_Type, Kind::FrozenSet},
        Row{&PyComplex_Type, Kind::Complex}, Row{&PyODict_Type, Kind::OrderedDict},
    };
    for (const Row& row : rows) {
        if (row.type == type) return row.kind;
    }
    return Kind::Opaque;
}

// The C types of datetime, whatever a test has put in their place in the module.
Kind datetime_kind(PyTypeObject* type) {
    if (std::strncmp(type->tp_name, "datetime.", 9) != 0) return Kind::Opaque;
    if (PyDateTimeAPI == nullptr) {
        PyDateTime_IMPORT;
        if (PyDateTimeAPI == nullptr) {
            PyErr_Clear();
            return Kind::Opaque;
        }
    }
    if (type == PyDateTimeAPI->DateTimeType) return Kind::DateTime;
    if (type == PyDateTimeAPI->DateType) return Kind::Date;
    if (type == PyDateTimeAPI->TimeType) return Kind::Time;
    if (type == PyDateTimeAPI->DeltaType) return Kind::TimeDelta;
    if (type == Py_TYPE(PyDateTimeAPI->TimeZone_UTC)) return Kind::TimeZone;
    return Kind::Opaque;
}

Kind library_kind(PyTypeObject* type) {
    struct Row {
        const char* module;
        const char* name;
        Kind kind;
    };
    constexpr std::array kRows{
        Row{"collections", "deque", Kind::Deque},     Row{"uuid", "UUID", Kind::Uuid},
        Row{"zoneinfo", "ZoneInfo", Kind::ZoneInfo},  Row{"decimal", "Decimal", Kind::Decimal},
        Row{"fractions", "Fraction", Kind::Fraction}, Row{"array", "array", Kind::Array},
        Row{"pathlib", "PosixPath", Kind::Path},      Row{"pathlib", "PurePosixPath", Kind::Path},
        Row{"pathlib", "WindowsPath", Kind::Path},    Row{"pathlib", "PureWindowsPath", Kind::Path},
    };
    for (const Row& row : kRows) {
        if (is_known(type, row.module, row.name)) return row.kind;
    }
    return Kind::Opaque;
}

// The kind that `type` itself, not one of its bases, stands for.
Kind own_kind(PyTypeObject* type) {
    if (const Kind kind = builtin_kind(type); kind != Kind::Opaque) return kind;
    if (const Kind kind = datetime_kind(type); kind != Kind::Opaque) return kind;
    return library_kind(type);
}

// Whether `type` compares and hashes as `base` does. Counter, which only counts missing keys as
// zero, is the one class of the standard library for which that is forgiven.
bool equal_like(PyTypeObject* type, PyTypeObject* base) {
    if (is_known(type, "collections", "Counter")) return true;
    return class_attribute(type, "__eq__") == class_attribute(base, "__eq__") &&
           class_attribute(type, "__hash__") == class_attribute(base, "__hash__");
}

// Names of a class attribute that is a tuple of str (`_fields`), or the keys of one that is a dict.
bool add_names(PyObject* names, std::vector<Ref>& out) {
    if (PyTuple_CheckExact(names)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
            PyObject* const name = PyTuple_GET_ITEM(names, i);
            if (!PyUnicode_CheckExact(name)) return false;
            out.push_back(Ref::share(name));
        }
        return true;
    }
    if (!PyDict_CheckExact(names)) return false;
    PyObject *name = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(names, &at, &name, &value) != 0;) {
        if (!PyUnicode_CheckExact(name)) return false;
        out.push_back(Ref::share(name));
    }
    return true;
}

// `__dataclass_fields__` also lists ClassVar and InitVar pseudo-fields; a real field says _FIELD.
bool add_dataclass_fields(PyObject* fields, std::vector<Ref>& out) {
    if (!PyDict_CheckExact(fields)) return false;
    const Ref all(PyDict_Copy(fields));
    if (!all) return false;
    PyObject *name = nullptr, *field = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(all.get(), &at, &name, &field) != 0;) {
        const Ref kind(PyObject_GetAttrString(field, "_field_type"));
        const Ref label(kind ? PyObject_GetAttrString(kind.get(), "name") : nullptr);
        if (!label || !PyUnicode_CheckExact(label.get()) || !PyUnicode_CheckExact(name)) {
            PyErr_Clear();
            return false;
        }
        if (PyUnicode_CompareWithASCIIString(label.get(), "_FIELD") == 0) {
            out.push_back(Ref::share(name));
        }
    }
    return true;
}

bool describe_by_fields(PyTypeObject* type, TypeInfo& info) {
    if (class_attribute(type, "_member_map_") != nullptr && is_below(type, "enum", "Enum")) {
        info.kind = Kind::Enum;
        return true;
    }
    if (class_attribute(type, "__pydantic_fields_set__") != nullptr) {
        PyObject* fields = class_attribute(type, "__pydantic_fields__");
        if (fields == nullptr) fields = class_attribute(type, "model_fields");
        if (fields != nullptr && add_names(fields, info.fields)) {
            info.kind = Kind::Pydantic;
            return true;
        }
        info.fields.clear();
    }
    if (PyObject* const fields = class_attribute(type, "__dataclass_fields__")) {
        if (add_dataclass_fields(fields, info.fields)) {
            info.kind = Kind::Dataclass;
            return true;
        }
        info.fields.clear();
    }
    return false;
}

bool describe_numpy(PyTypeObject* type, TypeInfo& info) {
    if (imported_module("numpy") == nullptr) return false;
    if (is_known(type, "numpy", "ndarray")) {
        info.kind = Kind::NdArray;
        return true;
    }
    // The scalar types are numpy's own; a class that a user derives from one is not.
    if (is_below(type, "numpy", "generic") && !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        info.kind = Kind::NumpyScalar;
        return true;
    }
    return false;
}

// The member descriptors that `__slots__` made, in the order of the bases and of the class dict.
void add_slots(PyTypeObject* type, std::vector<Ref>& out) {
    PyObject* const bases = type->tp_mro;
    for (Py_ssize_t i = 0; bases != nullptr && i < PyTuple_GET_SIZE(bases); ++i) {
        auto* const base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(bases, i));
        PyObject* const dict = base->tp_dict;
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE) || dict == nullptr ||
            PyDict_GetItemString(dict, "__slots__") == nullptr) {
            continue;
        }
        PyObject *name = nullptr, *value = nullptr;
        for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &name, &value) != 0;) {
            if (Py_TYPE(value) == &PyMemberDescr_Type) out.push_back(Ref::share(value));
        }
    }
}

void describe_by_base(PyTypeObject* type, TypeInfo& info) {
    PyObject* const bases = type->tp_mro;
    for (Py_ssize_t i = 0; bases != nullptr && i < PyTuple_GET_SIZE(bases); ++i) {
        auto* const base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(bases, i));
        const Kind kind = own_kind(base);
        if (kind == Kind::Opaque) continue;
        if (base != type) {
            if (!equal_like(type, base)) return;
            info.subclass = true;
            add_slots(type, info.slots);
        }
        info.kind = kind;
        PyObject* const fields = class_attribute(type, "_fields");
        if (kind == Kind::Tuple && info.subclass && fields != nullptr &&
            PyTuple_CheckExact(fields)) {
            if (add_names(fields, info.fields)) {
                info.kind = Kind::NamedTuple;
            } else {
                info.fields.clear();
            }
        }
        return;
    }
}

// A dataclass or a pydantic model may also be a list, say; then its content would be lost.
bool has_builtin_content(PyTypeObject* type) {
    PyObject* const bases = type->tp_mro;
    for (Py_ssize_t i = 0; bases != nullptr && i < PyTuple_GET_SIZE(bases); ++i) {
        auto* const base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(bases, i));
        if (own_kind(base) != Kind::Opaque) return true;
    }
    return false;
}

std::shared_ptr<const TypeInfo> describe(PyTypeObject* type) {
    auto info = std::make_shared<TypeInfo>();
    const TypeName name = type_name(type);
    info->name = name.module + ":" + name.qualname;
    info->local = name.qualname.find("<locals>") != std::string::npos;
    if (describe_numpy(type, *info)) return info;
    if (describe_by_fields(type, *info)) {
        if (info->kind == Kind::Enum || !has_builtin_content(type)) return info;
        info->kind = Kind::Opaque;
        info->fields.clear();
    }
    describe_by_base(type, *info);
    return info;
}

// Whether a dict may be asked for it as a C string: UTF-8 without a zero byte.
bool is_name(const std::string& text) {
    const Ref decoded(
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
    if (!decoded) PyErr_Clear();
    return decoded && text.find('\0') == std::string::npos;
}

}  // namespace

PyTypeObject* known_type(const char* module_name, const char* name) {
    PyObject* const module = imported_module(module_name);
    if (module == nullptr || !PyModule_Check(module)) return nullptr;
    PyObject* const dict = PyModule_GetDict(module);
    PyObject* const found = PyDict_GetItemString(dict, name);
    if (found == nullptr || !PyType_Check(found)) return nullptr;
    return reinterpret_cast<PyTypeObject*>(found);
}

TypeName type_name(PyTypeObject* type) {
    TypeName name;
    const std::string_view full = type->tp_name;
    const std::size_t dot = full.rfind('.');
    if (PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        auto* const heap = reinterpret_cast<PyHeapTypeObject*>(type);
        append_text(heap->ht_qualname, name.qualname);
        PyObject* const module = class_attribute(type, "__module__");
        if (module != nullptr && PyUnicode_Check(module)) append_text(module, name.module);
        return name;
    }
    name.module = dot == std::string_view::npos ? "builtins" : std::string(full.substr(0, dot));
    name.qualname = std::string(dot == std::string_view::npos ? full : full.substr(dot + 1));
    return name;
}

std::shared_ptr<const TypeInfo> type_info(PyTypeObject* type) {
    // Never destroyed: at exit the interpreter is gone before the library is.
    static auto& entries = *new std::array<Entry, kEntries>();
    Entry& entry = entries[(reinterpret_cast<std::uintptr_t>(type) >> 4) % kEntries];
    const unsigned version = version_of(type);
    if (entry.type == type && version != 0 && entry.version == version) return entry.info;
    std::shared_ptr<const TypeInfo> info = describe(type);
    // Describing looked attributes up, which is what makes CPython give out a version.
    if (const unsigned described = version_of(type); described != 0) {
        const Entry old = std::exchange(entry, Entry{type, described, info});
    }
    return info;
}

PyTypeObject* find_class(const TypeName& name) {
    if (!is_name(name.module) || !is_name(name.qualname)) return nullptr;
    PyObject* const module = imported_module(name.module.c_str());
    if (module == nullptr || !PyModule_Check(module)) return nullptr;
    PyObject* found = nullptr;
    for (std::size_t begin = 0; begin <= name.qualname.size();) {
        const std::size_t dot = std::min(name.qualname.find('.', begin), name.qualname.size());
        const std::string part = name.qualname.substr(begin, dot - begin);
        if (found == nullptr) {
            found = PyDict_GetItemString(PyModule_GetDict(module), part.c_str());
        } else {
            found = PyType_Check(found)
                        ? class_attribute(reinterpret_cast<PyTypeObject*>(found), part.c_str())
                        : nullptr;
        }
        if (found == nullptr) return nullptr;
        begin = dot + 1;
    }
    return found != nullptr && PyType_Check(found) ? reinterpret_cast<PyTypeObject*>(found)
                                                   : nullptr;
}

bool is_importable(PyTypeObject* type, const TypeName& name) { return find_class(name) == type; }

PyObject* imported_module(const char* name) {
    PyObject* const modules = PyImport_GetModuleDict();
    return modules == nullptr ? nullptr : PyDict_GetItemString(modules, name);
}

Ref dtype_form(PyObject* dtype, PyObject* names) {
    return names == Py_None ? attribute_of<"str">(dtype) : attribute_of<"descr">(dtype);
}

Ref optional_attribute(PyObject* object, PyObject* name, bool& failed) {
    Ref value(name == nullptr ? nullptr : PyObject_GetAttr(object, name));
    failed = false;
    if (!value) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        } else {
            failed = true;
        }
    }
    return value;
}

}  // namespace millpond::bindings

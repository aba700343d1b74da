#include "value_type.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "heap_type.hpp"

namespace millpond::bindings {
namespace {

// Two words before the object hold its managed dict and weak references (from 3.11 and 3.12 on).
constexpr unsigned long kPreHeader = Py_TPFLAGS_MANAGED_DICT
#ifdef Py_TPFLAGS_MANAGED_WEAKREF
                                     | Py_TPFLAGS_MANAGED_WEAKREF
#endif
    ;

[[nodiscard]] bool is_heap_type(PyTypeObject* type) noexcept {
    return PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) != 0;
}

// True for the types that CPython itself and numpy define in C. Their __sizeof__ only counts;
// that of any other extension may be a user's code (Cython compiles `def __sizeof__` to C).
[[nodiscard]] bool has_trusted_size(PyTypeObject* type) noexcept {
    const char* dot = std::strchr(type->tp_name, '.');
    if (dot == nullptr) {
        return !is_heap_type(type);
    }
    const Ref package(PyUnicode_FromStringAndSize(type->tp_name, dot - type->tp_name));
    if (!package) {
        return false;
    }
    if (PyUnicode_CompareWithASCIIString(package.get(), "numpy") == 0) {
        return true;
    }
    if (PyUnicode_CompareWithASCIIString(package.get(), "builtins") == 0) {
        return !is_heap_type(type);
    }
    PyObject* stdlib = PySys_GetObject("stdlib_module_names");  // borrowed
    return stdlib != nullptr && PyAnySet_Check(stdlib) != 0 &&
           PySet_Contains(stdlib, package.get()) == 1;
}

// The entry `name` of the type's own namespace, not of its bases.
[[nodiscard]] Ref own_entry(PyTypeObject* type, PyObject* name) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    const Ref space(PyType_GetDict(type));
    return space ? Ref::share(PyDict_GetItemWithError(space.get(), name)) : Ref();
#else
    return Ref::share(PyDict_GetItemWithError(type->tp_dict, name));
#endif
}

// The nearest __sizeof__ along the MRO that is trusted C and takes only self. object's own, which
// is basic size plus items, is computed here instead.
[[nodiscard]] PyCFunction find_size_of(PyTypeObject* type) noexcept {
    const Ref name(PyUnicode_InternFromString("__sizeof__"));
    if (!name) {
        return nullptr;
    }
    // A look-up gives the type a version, unless the interpreter ran out of numbers: then the type
    // is examined each time.
    (void)_PyType_Lookup(type, name.get());
    const Py_ssize_t count = PyTuple_GET_SIZE(type->tp_mro);
    for (Py_ssize_t i = 0; i < count; ++i) {
        auto* base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(type->tp_mro, i));
        const Ref entry = own_entry(base, name.get());
        if (!entry || !Py_IS_TYPE(entry.get(), &PyMethodDescr_Type)) {
            continue;
        }
        auto* descriptor = reinterpret_cast<PyMethodDescrObject*>(entry.get());
        PyTypeObject* owner = descriptor->d_common.d_type;
        if (owner == &PyBaseObject_Type) {
            return nullptr;
        }
        // A class body can borrow another type's descriptor: calling that here would crash.
        if (descriptor->d_method->ml_flags == METH_NOARGS && PyType_IsSubtype(type, owner) != 0 &&
            has_trusted_size(owner)) {
            return descriptor->d_method->ml_meth;
        }
    }
    return nullptr;
}

[[nodiscard]] bool is_array(PyTypeObject* type) noexcept {
    for (PyTypeObject* base = type; base != nullptr; base = base->tp_base) {
        if (!is_heap_type(base) && std::strcmp(base->tp_name, "numpy.ndarray") == 0) {
            return true;
        }
    }
    return false;
}

[[nodiscard]] bool belongs_to_the_program(PyObject* value, PyTypeObject* type) noexcept {
    // METHOD_DESCRIPTOR marks what is a function to attribute look-up: Python's, Cython's, ours.
    return PyType_Check(value) != 0 || PyModule_Check(value) != 0 || PyCode_Check(value) != 0 ||
           PyCFunction_Check(value) != 0 || PyFrame_Check(value) != 0 ||
           PyTraceBack_Check(value) != 0 ||
           PyType_HasFeature(type, Py_TPFLAGS_METHOD_DESCRIPTOR) != 0 || value == Py_None ||
           value == Py_Ellipsis || value == Py_NotImplemented || PyBool_Check(value) != 0;
}

[[nodiscard]] PartKind kind_of(PyObject* value, PyTypeObject* type) noexcept {
    if (belongs_to_the_program(value, type)) {
        return PartKind::Free;
    }
    if (is_array(type)) {
        return PartKind::Array;
    }
    if (PyDict_Check(value) != 0) {
        return PartKind::Mapping;
    }
    const bool collected = PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) != 0;
    return collected && type->tp_traverse != nullptr ? PartKind::Traversed : PartKind::Leaf;
}

[[nodiscard]] bool is_open_file(PyTypeObject* type) noexcept {
    const Ref io(PyImport_ImportModule("_io"));
    const Ref base(io ? PyObject_GetAttrString(io.get(), "_IOBase") : nullptr);
    return base && PyType_Check(base.get()) != 0 &&
           PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(base.get())) != 0;
}

[[nodiscard]] Refusal refusal_of(PyObject* value, PyTypeObject* type) noexcept {
    if (PyCoro_CheckExact(value)) {
        return Refusal::Coroutine;
    }
    if (const PyAsyncMethods* async = type->tp_as_async; async != nullptr) {
        if (async->am_anext != nullptr) {
            return Refusal::AsyncIterator;
        }
        if (async->am_await != nullptr) {
            return Refusal::Awaitable;
        }
    }
    if (is_open_file(type)) {
        return Refusal::OpenFile;
    }
    // As collections.abc.Iterator tells it: __next__ and __iter__. No container has both.
    return PyIter_Check(value) != 0 && type->tp_iter != nullptr ? Refusal::Iterator : Refusal::None;
}

[[nodiscard]] ValueType examine(PyObject* value, PyTypeObject* type) noexcept {
    ValueType info;
    info.type = type;
    info.kind = kind_of(value, type);
    info.refusal = refusal_of(value, type);
    std::size_t header =
        PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) != 0 ? kCollectorHeaderBytes : 0;
    if ((PyType_GetFlags(type) & kPreHeader) != 0) {
        header += 2 * sizeof(void*);
    }
    info.header_bytes = static_cast<std::uint8_t>(header);
    info.keeps_attributes_inline = PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT) != 0;
    info.size_of = find_size_of(type);
    PyErr_Clear();
    return info;
}

[[nodiscard]] unsigned version_of(PyTypeObject* type) noexcept {
    return PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG) != 0 ? type->tp_version_tag : 0;
}

}  // namespace

ValueType value_type_of(PyObject* value) noexcept {
    // Two places for each type: with one, two types of a value could evict each other for ever.
    struct Pair {
        ValueType recent;
        ValueType older;
    };
    constexpr int kPairBits = 7;
#ifdef Py_GIL_DISABLED
    static thread_local std::array<Pair, 1U << kPairBits> remembered;
#else
    static std::array<Pair, 1U << kPairBits> remembered;
#endif
    PyTypeObject* type = Py_TYPE(value);
    // Fibonacci hashing: types lie a kilobyte apart, so the low bits of their addresses agree.
    const auto mixed = std::uint64_t{reinterpret_cast<std::uintptr_t>(type)} * 0x9E3779B97F4A7C15U;
    Pair& pair = remembered[mixed >> (64 - kPairBits)];
    // Versions are never given twice, so a new type at the address of a dead one does not match.
    const unsigned version = version_of(type);
    if (pair.recent.type == type && pair.recent.version == version && version != 0) {
        return pair.recent;
    }
    if (pair.older.type == type && pair.older.version == version && version != 0) {
        return pair.older;
    }
    ValueType info = examine(value, type);
    info.version = version_of(type);
    pair.older = std::exchange(pair.recent, info);
    return info;
}

std::size_t own_bytes(PyObject* value, const ValueType& info) noexcept {
    if (info.kind == PartKind::Free) {
        return 0;
    }
    if (info.size_of != nullptr) {
        const Ref size(info.size_of(value, nullptr));
        const std::size_t bytes = size ? PyLong_AsSize_t(size.get()) : static_cast<std::size_t>(-1);
        if (bytes != static_cast<std::size_t>(-1)) {
            return bytes + info.header_bytes;
        }
        PyErr_Clear();  // out of memory, or a damaged object: fall back to the basic size
    }
    std::size_t bytes = static_cast<std::size_t>(info.type->tp_basicsize) + info.header_bytes;
    if (info.type->tp_itemsize > 0) {
        const Py_ssize_t items = reinterpret_cast<PyVarObject*>(value)->ob_size;
        bytes += static_cast<std::size_t>(info.type->tp_itemsize) *
                 static_cast<std::size_t>(items < 0 ? -items : items);
    }
    return bytes;
}

}  // namespace millpond::bindings

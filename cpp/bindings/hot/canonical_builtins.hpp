// Part of Walker: numbers, sequences and the other builtin types.
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include "hot/canonical_walker.hpp"
#include "hot/integer_parts.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {

// A buffer view, released when done with.
class BufferView {
  public:
    BufferView(PyObject* object, int flags) noexcept
        : held_(PyObject_GetBuffer(object, &view_, flags) == 0) {}
    ~BufferView() {
        if (held_) PyBuffer_Release(&view_);
    }
    BufferView(const BufferView&) = delete;
    BufferView& operator=(const BufferView&) = delete;
    [[nodiscard]] explicit operator bool() const noexcept { return held_; }
    [[nodiscard]] const Py_buffer* operator->() const noexcept { return &view_; }
    [[nodiscard]] const Py_buffer& operator*() const noexcept { return view_; }

  private:
    Py_buffer view_;
    bool held_;
};

template <typename Sink>
inline bool Walker<Sink>::integer(PyObject* object) {
    if (is_compact(object)) {
        sink_.integer(compact_value(object));
        return true;
    }
    int overflow = 0;
    const long long small = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0) return big_integer(object);
    sink_.integer(small);
    return true;
}

template <typename Sink>
bool Walker<Sink>::big_integer(PyObject* object) {
    bool negative = false;
    std::vector<std::uint8_t> bytes;
    if (!magnitude_of(object, negative, bytes)) return false;
    sink_.big_integer(negative, bytes.data(), bytes.size());
    return true;
}

// There is one NaN; 0.0 and -0.0 are two values.
template <typename Sink>
inline void Walker<Sink>::floating(double value) {
    if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
    sink_.word(Tag::Float, std::bit_cast<std::uint64_t>(value));
}

// A float; untyped, one that is a whole number (but not -0.0) is that int.
template <typename Sink>
inline bool Walker<Sink>::number(double value) {
    if (options_.typed || std::trunc(value) != value || std::isinf(value) ||
        (value == 0.0 && std::signbit(value))) {
        floating(value);
        return true;
    }
    const Ref whole(PyLong_FromDouble(value));
    return whole && integer(whole.get());
}

// Fetches what the object is asked for first, while something else is at work.
inline void prefetch_within(PyObject* object) noexcept {
    if (PyDict_CheckExact(object))
        __builtin_prefetch(reinterpret_cast<PyDictObject*>(object)->ma_keys);
}

template <typename Sink>
inline bool Walker<Sink>::list(PyObject* object) {
    const Level level(*this, object);
    if (!level) return false;
    const Py_ssize_t size = PyList_GET_SIZE(object);
    sink_.open(Tag::List, static_cast<std::size_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (PyList_GET_SIZE(object) != size) return changed();
        if (i + 2 < size) __builtin_prefetch(PyList_GET_ITEM(object, i + 2));
        if (i + 1 < size) prefetch_within(PyList_GET_ITEM(object, i + 1));
        if (!value(PyList_GET_ITEM(object, i))) {
            failure_.at_index(i);
            return false;
        }
    }
    return PyList_GET_SIZE(object) == size || changed();
}

template <typename Sink>
inline bool Walker<Sink>::tuple(PyObject* object) {
    const Level level(*this, object);
    if (!level) return false;
    const Py_ssize_t size = PyTuple_GET_SIZE(object);
    sink_.open(Tag::Tuple, static_cast<std::size_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (!value(PyTuple_GET_ITEM(object, i))) {
            failure_.at_index(i);
            return false;
        }
    }
    return true;
}

// Exact builtins that are rarer than those value() knows, then everything else.
template <typename Sink>
bool Walker<Sink>::rare_builtin(PyObject* object) {
    PyTypeObject* const exact = Py_TYPE(object);
    if (exact == &PyBytes_Type) return builtin_content(object, Kind::Bytes);
    if (exact == &PySet_Type) return set(object, Tag::Set);
    if (exact == &PyFrozenSet_Type) return set(object, Tag::FrozenSet);
    if (exact == &PyByteArray_Type) return builtin_content(object, Kind::ByteArray);
    if (exact == &PyComplex_Type) return builtin_content(object, Kind::Complex);
    if (exact == &PyRange_Type) return range(object);
    if (exact == &PySlice_Type) return slice(object);
    if (exact == &PyMemoryView_Type) return memory_view(object);
    if (exact == &PyODict_Type) return ordered_dict(object);
    if (object == Py_Ellipsis) {
        sink_.unit(Tag::Ellipsis);
        return true;
    }
    if (object == Py_NotImplemented) {
        sink_.unit(Tag::NotImplemented);
        return true;
    }
    if (PyType_Check(object)) return type(reinterpret_cast<PyTypeObject*>(object));
    return other(object);
}

// What an instance of a builtin type, or of a subclass of it, holds as such.
template <typename Sink>
bool Walker<Sink>::builtin_content(PyObject* object, Kind kind) {
    switch (kind) {
        case Kind::Str:
            if (!ready_text(object)) return false;
            sink_.text(object);
            return true;
        case Kind::Int: return integer(object);
        case Kind::Float: return number(PyFloat_AS_DOUBLE(object));
        case Kind::Dict: return dict(object, options_.ordered);
        case Kind::OrderedDict: return ordered_dict(object);
        case Kind::List: return list(object);
        case Kind::Tuple: return tuple(object);
        case Kind::Set: return set(object, Tag::Set);
        case Kind::FrozenSet: return set(object, Tag::FrozenSet);
        case Kind::Bytes:
            sink_.bytes(Tag::Bytes, PyBytes_AS_STRING(object),
                        static_cast<std::size_t>(PyBytes_GET_SIZE(object)));
            return true;
        case Kind::ByteArray:
            sink_.bytes(Tag::ByteArray, PyByteArray_AS_STRING(object),
                        static_cast<std::size_t>(PyByteArray_GET_SIZE(object)));
            return true;
        default: {
            const auto& parts = reinterpret_cast<PyComplexObject*>(object)->cval;
            sink_.unit(Tag::Complex);
            floating(parts.real);
            floating(parts.imag);
            return true;
        }
    }
}

template <typename Sink>
bool Walker<Sink>::range(PyObject* object) {
    sink_.unit(Tag::Range);
    return attribute<"start">(object) && attribute<"stop">(object) && attribute<"step">(object);
}

template <typename Sink>
bool Walker<Sink>::slice(PyObject* object) {
    const Level level(*this, object);
    if (!level) return false;
    sink_.unit(Tag::Slice);
    const auto* const parts = reinterpret_cast<PySliceObject*>(object);
    return value(parts->start) && value(parts->stop) && value(parts->step);
}

// A class, by its name. In this process a class that may die and be defined anew is also compared
// by identity; outside it, a class must be found under its name, as for pickle.
template <typename Sink>
bool Walker<Sink>::type(PyTypeObject* object) {
    const TypeName names = type_name(object);
    const std::string full = names.module + ":" + names.qualname;
    sink_.bytes(Tag::Type, full.data(), full.size());
    if (!PyType_HasFeature(object, Py_TPFLAGS_HEAPTYPE)) return true;
    if constexpr (Sink::kInProcess) {
        leaves_.push_back(Ref::share(reinterpret_cast<PyObject*>(object)));
        return true;
    } else {
        if (is_importable(object, names)) return true;
        return failure_.set("the class " + type_display_name(object) +
                            " cannot be found under its name, so other processes cannot know it");
    }
}

// A C-contiguous copy of what the buffer holds, preceded by its shape.
template <typename Sink>
bool Walker<Sink>::buffer(PyObject* object) {
    const BufferView view(object, PyBUF_FULL_RO);
    if (!view) return false;
    sink_.open(Tag::Tuple, static_cast<std::size_t>(view->ndim));
    for (int i = 0; i < view->ndim; ++i) sink_.integer(view->shape[i]);
    const auto size = static_cast<std::size_t>(view->len);
    if (PyBuffer_IsContiguous(&*view, 'C') != 0) {
        sink_.bytes(Tag::Bytes, view->buf, size);
        return true;
    }
    std::vector<std::uint8_t> copy(size);
    if (PyBuffer_ToContiguous(copy.data(), &*view, view->len, 'C') != 0) {
        return false;
    }
    sink_.bytes(Tag::Bytes, copy.data(), size);
    return true;
}

template <typename Sink>
bool Walker<Sink>::memory_view(PyObject* object) {
    hold();
    const Ref kept = Ref::share(object);
    const Ref format = attribute_of<"format">(object);
    if (!format) {
        if (PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            return failure_.set("the memoryview has been released");
        }
        return false;
    }
    sink_.unit(Tag::MemoryView);
    return value(format.get()) && buffer(object);
}

}  // namespace millpond::bindings

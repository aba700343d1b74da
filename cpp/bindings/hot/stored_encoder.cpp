#include "hot/stored_encoder.hpp"

#include <bit>
#include <vector>

#include "hot/canonical_text.hpp"
#include "hot/canonical_walker.hpp"
#include "hot/integer_parts.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {

bool StoredEncoder::value(PyObject* object) {
    PyTypeObject* const type = Py_TYPE(object);
    if (type == &PyUnicode_Type) return text(object);
    if (type == &PyLong_Type) return integer(object);
    if (type == &PyDict_Type) return dict(object);
    if (type == &PyList_Type) return list(object);
    if (type == &PyFloat_Type) {
        out_.tag(Stored::Float);
        floating(PyFloat_AS_DOUBLE(object));
        return true;
    }
    if (object == Py_None) {
        out_.tag(Stored::None);
        return true;
    }
    if (type == &PyBool_Type) {
        out_.tag(object == Py_True ? Stored::True : Stored::False);
        return true;
    }
    if (type == &PyTuple_Type) return tuple(object);
    return rare(object);
}

bool StoredEncoder::rare(PyObject* object) {
    PyTypeObject* const type = Py_TYPE(object);
    if (type == &PyBytes_Type) {
        out_.tag(Stored::Bytes);
        out_.run(PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object)));
        return true;
    }
    if (type == &PySet_Type) return set(object, Stored::Set);
    if (type == &PyFrozenSet_Type) return set(object, Stored::FrozenSet);
    if (type == &PyByteArray_Type) {
        out_.tag(Stored::ByteArray);
        out_.run(PyByteArray_AS_STRING(object),
                 static_cast<std::size_t>(PyByteArray_GET_SIZE(object)));
        return true;
    }
    if (type == &PyComplex_Type) {
        const auto& parts = reinterpret_cast<PyComplexObject*>(object)->cval;
        out_.tag(Stored::Complex);
        floating(parts.real);
        floating(parts.imag);
        return true;
    }
    if (type == &PyRange_Type) return range(object);
    if (object == Py_Ellipsis) {
        out_.tag(Stored::Ellipsis);
        return true;
    }
    const std::shared_ptr<const TypeInfo> info = type_info(type);
    if (!info) return false;
    return library(object, *info);
}

bool StoredEncoder::is_depth_allowed() {
    if (depth_ <= kMaxDepth) return true;
    too_deep_ = true;
    return failure_.set("it is nested more than 100 levels deep, or contains itself");
}

bool StoredEncoder::changed() { return failure_.set("it changed while it was being encoded"); }

bool StoredEncoder::refuse(PyObject* object) {
    return failure_.set("a " + type_display_name(Py_TYPE(object)) + " has no stored form");
}

bool StoredEncoder::text(PyObject* object) {
    if (!ready_text(object)) return false;
    const auto length = static_cast<std::size_t>(PyUnicode_GET_LENGTH(object));
    if (PyUnicode_IS_ASCII(object)) {
        if (length < kShortAscii) {
            std::uint8_t* const at = out_.room(1 + length);
            *at = static_cast<std::uint8_t>(static_cast<std::size_t>(Stored::ShortAscii) + length);
            std::memcpy(at + 1, PyUnicode_DATA(object), length);
        } else {
            out_.tag(Stored::Ascii);
            out_.run(PyUnicode_DATA(object), length);
        }
        return true;
    }
    const std::size_t size = utf8_size(object);
    out_.tag(Stored::Text);
    out_.count(size);
    std::uint8_t* at = out_.room(size);
    const int kind = static_cast<int>(PyUnicode_KIND(object));
    const void* const data = PyUnicode_DATA(object);
    for (std::size_t i = 0; i < length; ++i) {
        at = write_utf8(PyUnicode_READ(kind, data, static_cast<Py_ssize_t>(i)), at);
    }
    return true;
}

bool StoredEncoder::integer(PyObject* object) {
    std::int64_t small = 0;
    if (is_compact(object)) {
        small = compact_value(object);
        if (small >= 0 && small < kSmallInts) {
            out_.byte(
                static_cast<std::uint8_t>(static_cast<std::int64_t>(Stored::SmallInt) + small));
            return true;
        }
    } else {
        int overflow = 0;
        small = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (overflow != 0) {
            bool negative = false;
            std::vector<std::uint8_t> bytes;
            if (!magnitude_of(object, negative, bytes)) return false;
            out_.tag(negative ? Stored::Negative : Stored::Natural);
            out_.run(bytes.data(), bytes.size());
            return true;
        }
    }
    // Zigzag: the sign becomes the lowest bit, so that small negative numbers stay short.
    const auto bits = static_cast<std::uint64_t>(small);
    out_.tag(Stored::Integer);
    out_.count(bits << 1 ^ (small < 0 ? ~std::uint64_t{0} : 0));
    return true;
}

void StoredEncoder::floating(double value) { out_.word(std::bit_cast<std::uint64_t>(value)); }

bool StoredEncoder::list(PyObject* object) {
    const Level level(*this);
    if (!level) return false;
    const Py_ssize_t size = PyList_GET_SIZE(object);
    out_.tag(Stored::List);
    out_.count(static_cast<std::uint64_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (PyList_GET_SIZE(object) != size) return changed();
        const Ref item = Ref::share(PyList_GET_ITEM(object, i));
        if (!value(item.get())) {
            failure_.at_index(i);
            return false;
        }
    }
    return PyList_GET_SIZE(object) == size || changed();
}

bool StoredEncoder::tuple(PyObject* object) {
    const Level level(*this);
    if (!level) return false;
    const Py_ssize_t size = PyTuple_GET_SIZE(object);
    out_.tag(Stored::Tuple);
    out_.count(static_cast<std::uint64_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (!value(PyTuple_GET_ITEM(object, i))) {
            failure_.at_index(i);
            return false;
        }
    }
    return true;
}

bool StoredEncoder::key(PyObject* object) {
    if (!PyUnicode_CheckExact(object) || !PyUnicode_IS_COMPACT_ASCII(object)) return value(object);
    const Py_ssize_t length = reinterpret_cast<PyASCIIObject*>(object)->length;
    if (length == 0 || static_cast<std::size_t>(length) >= kShortAscii) return text(object);
    // Fibonacci hashing of the address.
    const auto mixed = (reinterpret_cast<std::uintptr_t>(object) >> 4) * 0x9E3779B97F4A7C15U;
    Spelt& slot = spelt_[mixed >> 58];
    if (slot.key.get() == object) {
        out_.tag(Stored::SameKey);
        out_.count(slot.number);
        return true;
    }
    if (spelt_count_ < kMostSharedKeys) {
        slot.key = Ref::share(object);
        slot.number = spelt_count_++;
    }
    return text(object);
}

bool StoredEncoder::dict(PyObject* object) {
    const Level level(*this);
    if (!level) return false;
    const Py_ssize_t size = PyDict_GET_SIZE(object);
    out_.tag(Stored::Dict);
    out_.count(static_cast<std::uint64_t>(size));
    PyObject *name = nullptr, *mapped = nullptr;
    Py_ssize_t seen = 0;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &name, &mapped) != 0; ++seen) {
        const Ref held_name = Ref::share(name);
        const Ref held = Ref::share(mapped);
        if (!key(name) || !value(mapped)) {
            failure_.at_pair();
            return false;
        }
        if (PyDict_GET_SIZE(object) != size) return changed();
    }
    return seen == size || changed();
}

bool StoredEncoder::set(PyObject* object, Stored tag) {
    const Level level(*this);
    if (!level) return false;
    const Py_ssize_t size = PySet_GET_SIZE(object);
    const Ref iterator(Py_TYPE(object)->tp_iter(object));
    if (!iterator) return false;
    out_.tag(tag);
    out_.count(static_cast<std::uint64_t>(size));
    Py_ssize_t seen = 0;
    for (Ref member(PyIter_Next(iterator.get())); member;
         member = Ref(PyIter_Next(iterator.get())), ++seen) {
        if (!value(member.get())) {
            failure_.at_member();
            return false;
        }
    }
    if (PyErr_Occurred() != nullptr) {
        if (PyErr_ExceptionMatches(PyExc_RuntimeError) == 0) return false;
        PyErr_Clear();  // "changed size during iteration"
        return changed();
    }
    return (seen == size && PySet_GET_SIZE(object) == size) || changed();
}

bool StoredEncoder::attribute(const Ref& held) { return held && value(held.get()); }

bool StoredEncoder::range(PyObject* object) {
    out_.tag(Stored::Range);
    return attribute(attribute_of<"start">(object)) && attribute(attribute_of<"stop">(object)) &&
           attribute(attribute_of<"step">(object));
}

}  // namespace millpond::bindings

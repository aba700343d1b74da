// Part of Walker: the types of the standard library and of numpy, none of which is imported here.
#pragma once

#include <Python.h>
#include <datetime.h>

#include <algorithm>
#include <string>

#include "hot/canonical_builtins.hpp"
#include "hot/canonical_walker.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {

template <typename Sink>
bool Walker<Sink>::library_content(PyObject* object, Kind kind) {
    switch (kind) {
        case Kind::Date:
        case Kind::Time:
        case Kind::DateTime:
        case Kind::TimeDelta:
        case Kind::TimeZone: return date_time(object, kind);
        case Kind::ZoneInfo: return zone_info(object);
        case Kind::Uuid: sink_.unit(Tag::Uuid); return attribute<"int">(object);
        case Kind::Path: return path(object);
        case Kind::Decimal: return decimal(object);
        case Kind::Fraction:
            sink_.unit(Tag::Fraction);
            return attribute<"numerator">(object) && attribute<"denominator">(object);
        case Kind::Array: return array(object);
        case Kind::Deque: return deque(object);
        default: return opaque(object);
    }
}

// Date and time of day as one number each, then the zone as any other value: the same instant in
// two zones is two values.
template <typename Sink>
bool Walker<Sink>::date_time(PyObject* object, Kind kind) {
    const auto number = [](int part) { return static_cast<std::uint64_t>(part); };
    const auto day = [&] {
        return number(PyDateTime_GET_YEAR(object)) << 16 |
               number(PyDateTime_GET_MONTH(object)) << 8 | number(PyDateTime_GET_DAY(object));
    };
    const auto moment = [&](int hour, int minute, int second, int micro, int fold) {
        const std::uint64_t seconds = (number(hour) * 60 + number(minute)) * 60 + number(second);
        return number(fold) << 63 | (seconds * 1'000'000 + number(micro));
    };
    switch (kind) {
        case Kind::Date: sink_.word(Tag::Date, day()); return true;
        case Kind::DateTime:
            sink_.word(Tag::DateTime, day());
            sink_.word(
                Tag::Time,
                moment(PyDateTime_DATE_GET_HOUR(object), PyDateTime_DATE_GET_MINUTE(object),
                       PyDateTime_DATE_GET_SECOND(object), PyDateTime_DATE_GET_MICROSECOND(object),
                       PyDateTime_DATE_GET_FOLD(object)));
            return value(PyDateTime_DATE_GET_TZINFO(object));
        case Kind::Time:
            sink_.word(
                Tag::Time,
                moment(PyDateTime_TIME_GET_HOUR(object), PyDateTime_TIME_GET_MINUTE(object),
                       PyDateTime_TIME_GET_SECOND(object), PyDateTime_TIME_GET_MICROSECOND(object),
                       PyDateTime_TIME_GET_FOLD(object)));
            return value(PyDateTime_TIME_GET_TZINFO(object));
        case Kind::TimeDelta:
            sink_.unit(Tag::TimeDelta);
            sink_.integer(PyDateTime_DELTA_GET_DAYS(object));
            sink_.integer(PyDateTime_DELTA_GET_SECONDS(object));
            sink_.integer(PyDateTime_DELTA_GET_MICROSECONDS(object));
            return true;
        default: {
            const Ref offset = call_method<"utcoffset">(object, Py_None);
            const Ref label = offset ? call_method<"tzname">(object, Py_None) : Ref();
            sink_.unit(Tag::TimeZone);
            return label && value(offset.get()) && value(label.get());
        }
    }
}

// By its key. One that was made from a file has none, and is known by identity.
template <typename Sink>
bool Walker<Sink>::zone_info(PyObject* object) {
    const Ref key = attribute_of<"key">(object);
    if (!key) return false;
    if (!PyUnicode_CheckExact(key.get())) return opaque(object);
    sink_.unit(Tag::ZoneInfo);
    return value(key.get());
}

// The class of pathlib that it is or extends, then its text.
template <typename Sink>
bool Walker<Sink>::path(PyObject* object) {
    const char* flavour = "PurePosixPath";
    for (const char* const each : {"PosixPath", "WindowsPath", "PureWindowsPath"}) {
        PyTypeObject* const base = known_type("pathlib", each);
        if (base != nullptr && PyObject_TypeCheck(object, base)) {
            flavour = each;
            break;
        }
    }
    const Ref text(PyOS_FSPath(object));
    if (!text) return false;
    sink_.unit(Tag::Path);
    sink_.bytes(Tag::Str, flavour, std::char_traits<char>::length(flavour));
    return value(text.get());
}

// As written: 1.0 and 1.00 differ. The exponent's letter depends on a context, so it is made E.
template <typename Sink>
bool Walker<Sink>::decimal(PyObject* object) {
    PyTypeObject* const base = known_type("decimal", "Decimal");
    const Ref text(base != nullptr && base->tp_str != nullptr ? base->tp_str(object)
                                                              : PyObject_Str(object));
    if (!text) return false;
    std::string digits;
    append_text(text.get(), digits);
    std::ranges::replace(digits, 'e', 'E');
    sink_.bytes(Tag::Decimal, digits.data(), digits.size());
    return true;
}

template <typename Sink>
bool Walker<Sink>::array(PyObject* object) {
    sink_.unit(Tag::Array);
    return attribute<"typecode">(object) && buffer(object);
}

template <typename Sink>
bool Walker<Sink>::deque(PyObject* object) {
    PyTypeObject* const base = known_type("collections", "deque");
    if (base == nullptr || base->tp_iter == nullptr) return opaque(object);
    const Py_ssize_t size = base->tp_as_sequence->sq_length(object);
    const Ref iterator(base->tp_iter(object));
    if (!iterator) return false;
    sink_.open(Tag::Deque, static_cast<std::size_t>(size));
    if (!attribute<"maxlen">(object)) return false;
    Ref item;
    Py_ssize_t seen = 0;
    for (; next_member(iterator.get(), item); ++seen) {
        if (!value(item.get())) {
            failure_.at_index(seen);
            return false;
        }
    }
    if (PyErr_Occurred() != nullptr) return false;
    return seen == size || changed();
}

// The bytes that a method without arguments returns.
template <typename Sink>
bool Walker<Sink>::bytes_of(PyObject* object) {
    const Ref bytes = call_method<"tobytes">(object);
    return bytes && value(bytes.get());
}

// The dtype as numpy writes it down; with named fields, all of them.
template <typename Sink>
bool Walker<Sink>::numpy_type(PyObject* object, bool& has_objects) {
    const Ref dtype = attribute_of<"dtype">(object);
    const Ref objects = dtype ? attribute_of<"hasobject">(dtype.get()) : Ref();
    const Ref names = objects ? attribute_of<"names">(dtype.get()) : Ref();
    if (!names) return false;
    const Ref form = dtype_form(dtype.get(), names.get());
    if (!form) return false;
    has_objects = objects.get() == Py_True;
    return value(form.get());
}

// dtype, shape, then the elements in C order: their bytes, or each one if they are objects.
template <typename Sink>
bool Walker<Sink>::ndarray(PyObject* object) {
    bool has_objects = false;
    sink_.unit(Tag::NdArray);
    if (!numpy_type(object, has_objects) || !attribute<"shape">(object)) return false;
    return has_objects ? elements(call_method<"tolist">(object)) : bytes_of(object);
}

template <typename Sink>
bool Walker<Sink>::numpy_scalar(PyObject* object) {
    bool has_objects = false;
    sink_.unit(Tag::NumpyScalar);
    if (!numpy_type(object, has_objects)) return false;
    return has_objects ? elements(call_method<"item">(object)) : bytes_of(object);
}

// The elements as Python objects.
template <typename Sink>
bool Walker<Sink>::elements(const Ref& items) {
    return items && value(items.get());
}

}  // namespace millpond::bindings

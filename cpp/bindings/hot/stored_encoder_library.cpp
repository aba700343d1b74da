// Part of StoredEncoder: the types of the standard library and of numpy, none of which is imported
// here: who has a value of such a type has imported it.
#include <Python.h>
#include <datetime.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "hot/canonical_text.hpp"
#include "hot/integer_parts.hpp"
#include "hot/interned.hpp"
#include "hot/stored_encoder.hpp"
#include "hot/stored_library.hpp"

namespace millpond::bindings {
namespace {

// A view of an array's elements where they lie in one piece, in C or in Fortran order.
class Piece {
  public:
    explicit Piece(PyObject* array) noexcept
        : held_(PyObject_GetBuffer(array, &view_, PyBUF_ANY_CONTIGUOUS) == 0) {}
    ~Piece() {
        if (held_) PyBuffer_Release(&view_);
    }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;
    [[nodiscard]] explicit operator bool() const noexcept { return held_; }
    [[nodiscard]] const Py_buffer& view() const noexcept { return view_; }

  private:
    Py_buffer view_;
    bool held_;
};

template <Literal name>
int truth_of(PyObject* object) {
    const Ref held = attribute_of<name>(object);
    return held ? PyObject_IsTrue(held.get()) : -1;
}

}  // namespace

bool StoredEncoder::library(PyObject* object, const TypeInfo& info) {
    if (info.subclass) return refuse(object);
    switch (info.kind) {
        case Kind::Date:
        case Kind::Time:
        case Kind::DateTime:
        case Kind::TimeDelta: return date_time(object, info.kind);
        case Kind::TimeZone: return time_zone(object);
        case Kind::ZoneInfo: return zone_info(object);
        case Kind::Uuid: return uuid(object);
        case Kind::Path: return path(object);
        case Kind::Decimal: return decimal(object);
        case Kind::Fraction: return fraction(object);
        case Kind::Enum: return enumeration(object);
        case Kind::NdArray: return numpy_array(object);
        case Kind::NumpyScalar: return numpy_scalar(object);
        default: return refuse(object);
    }
}

bool StoredEncoder::date_time(PyObject* object, Kind kind) {
    const auto number = [](int part) { return static_cast<std::uint64_t>(part); };
    const auto day = [&] {
        out_.word(number(PyDateTime_GET_YEAR(object)) << 16 |
                      number(PyDateTime_GET_MONTH(object)) << 8 |
                      number(PyDateTime_GET_DAY(object)),
                  4);
    };
    const auto moment = [&](int hour, int minute, int second, int micro, int fold) {
        const std::uint64_t seconds = (number(hour) * 60 + number(minute)) * 60 + number(second);
        out_.word(number(fold) << 63 | (seconds * 1'000'000 + number(micro)));
    };
    if (kind == Kind::Date) {
        out_.tag(Stored::Date);
        day();
        return true;
    }
    if (kind == Kind::DateTime) {
        out_.tag(Stored::DateTime);
        day();
        moment(PyDateTime_DATE_GET_HOUR(object), PyDateTime_DATE_GET_MINUTE(object),
               PyDateTime_DATE_GET_SECOND(object), PyDateTime_DATE_GET_MICROSECOND(object),
               PyDateTime_DATE_GET_FOLD(object));
        return zone(PyDateTime_DATE_GET_TZINFO(object));
    }
    if (kind == Kind::Time) {
        out_.tag(Stored::Time);
        moment(PyDateTime_TIME_GET_HOUR(object), PyDateTime_TIME_GET_MINUTE(object),
               PyDateTime_TIME_GET_SECOND(object), PyDateTime_TIME_GET_MICROSECOND(object),
               PyDateTime_TIME_GET_FOLD(object));
        return zone(PyDateTime_TIME_GET_TZINFO(object));
    }
    out_.tag(Stored::TimeDelta);
    delta(object);
    return true;
}

void StoredEncoder::delta(PyObject* object) {
    const auto part = [](int number) { return static_cast<std::uint32_t>(number); };
    out_.word(part(PyDateTime_DELTA_GET_DAYS(object)), 4);
    out_.word(part(PyDateTime_DELTA_GET_SECONDS(object)), 4);
    out_.word(part(PyDateTime_DELTA_GET_MICROSECONDS(object)), 4);
}

bool StoredEncoder::zone(PyObject* object) {
    const Ref held = Ref::share(object);
    if (value(object)) return true;
    failure_.at_attribute("tzinfo");
    return false;
}

// As it was made: a name that was given is kept, one that follows from the offset is not.
bool StoredEncoder::time_zone(PyObject* object) {
    const Ref parts(call_method<"__getinitargs__">(object).release());
    if (!parts) return false;
    const Py_ssize_t count = PyTuple_GET_SIZE(parts.get());
    out_.tag(count == 1 ? Stored::TimeZone : Stored::NamedTimeZone);
    delta(PyTuple_GET_ITEM(parts.get(), 0));
    return count == 1 || value(PyTuple_GET_ITEM(parts.get(), 1));
}

bool StoredEncoder::zone_info(PyObject* object) {
    const Ref key = attribute_of<"key">(object);
    if (!key) return false;
    if (!PyUnicode_CheckExact(key.get())) {
        return failure_.set("a ZoneInfo that was made from a file has no stored form");
    }
    out_.tag(Stored::ZoneInfo);
    return value(key.get());
}

bool StoredEncoder::uuid(PyObject* object) {
    const Ref number = attribute_of<"int">(object);
    const Ref safe = number ? attribute_of<"is_safe">(object) : Ref();
    const Ref safety = safe ? attribute_of<"_name_">(safe.get()) : Ref();
    if (!safety || !PyLong_CheckExact(number.get())) return safety ? refuse(object) : false;
    std::vector<std::uint8_t> bytes;
    bool negative = false;
    if (!magnitude_of(number.get(), negative, bytes)) return false;
    if (negative || bytes.size() > 16) return refuse(object);
    std::size_t place = 0;
    while (place < std::size(kUuidSafeties) &&
           PyUnicode_CompareWithASCIIString(safety.get(), kUuidSafeties[place]) != 0) {
        ++place;
    }
    if (place == std::size(kUuidSafeties)) return refuse(object);
    out_.tag(Stored::Uuid);
    out_.byte(static_cast<std::uint8_t>(place));
    bytes.resize(16);
    out_.raw(bytes.data(), bytes.size());
    return true;
}

bool StoredEncoder::path(PyObject* object) {
    std::size_t place = 0;
    while (place < std::size(kPathClasses) &&
           known_type("pathlib", kPathClasses[place]) != Py_TYPE(object)) {
        ++place;
    }
    if (place == std::size(kPathClasses)) return refuse(object);
    const Ref text(PyOS_FSPath(object));
    if (!text) return false;
    if (!PyUnicode_CheckExact(text.get())) return refuse(object);
    out_.tag(Stored::Path);
    out_.byte(static_cast<std::uint8_t>(place));
    return value(text.get());
}

// As written: 1.0 and 1.00 differ. The exponent's letter depends on a context, so it is made E.
bool StoredEncoder::decimal(PyObject* object) {
    const Ref text(Py_TYPE(object)->tp_str(object));
    if (!text) return false;
    std::string digits;
    append_text(text.get(), digits);
    std::ranges::replace(digits, 'e', 'E');
    out_.tag(Stored::Decimal);
    out_.run(digits.data(), digits.size());
    return true;
}

bool StoredEncoder::fraction(PyObject* object) {
    out_.tag(Stored::Fraction);
    for (PyObject* const name : {interned<"numerator">(), interned<"denominator">()}) {
        const Ref part(name == nullptr ? nullptr : PyObject_GetAttr(object, name));
        if (!part) return false;
        if (!PyLong_CheckExact(part.get())) return refuse(object);
        if (_PyLong_NumBits(part.get()) > kMostFractionBytes * 8) {
            return failure_.set("a Fraction of numbers over 4096 bytes has no stored form");
        }
        if (!integer(part.get())) return false;
    }
    return true;
}

// By the name of its class and its own; a class that cannot be found by its name would be lost.
bool StoredEncoder::enumeration(PyObject* object) {
    const TypeName names = type_name(Py_TYPE(object));
    if (!is_importable(Py_TYPE(object), names)) {
        return failure_.set("the enum " + type_display_name(Py_TYPE(object)) +
                            " cannot be found by its name: define it at the top of a module");
    }
    const Ref name = attribute_of<"_name_">(object);
    if (!name) return false;
    const bool has_name = enum_member(Py_TYPE(object), name.get()) == object;
    if (!has_name && !is_flag(Py_TYPE(object))) return refuse(object);
    out_.tag(has_name ? Stored::Member : Stored::Flags);
    out_.run(names.module.data(), names.module.size());
    out_.run(names.qualname.data(), names.qualname.size());
    if (has_name) return text(name.get());
    const Ref number = attribute_of<"_value_">(object);
    if (!number) return false;
    return PyLong_CheckExact(number.get()) ? integer(number.get()) : refuse(object);
}

// The dtype in the form from which numpy makes it again; refused if it would not be the same.
bool StoredEncoder::numpy_type(PyObject* object) {
    const Ref dtype = attribute_of<"dtype">(object);
    if (!dtype) return false;
    const Ref names = attribute_of<"names">(dtype.get());
    const Ref metadata = names ? attribute_of<"metadata">(dtype.get()) : Ref();
    if (!metadata) return false;
    const Ref form = dtype_form(dtype.get(), names.get());
    if (!form) return false;
    const int has_objects = truth_of<"hasobject">(dtype.get());
    const int has_size = truth_of<"itemsize">(dtype.get());
    if (has_objects < 0 || has_size < 0) return false;
    PyObject* const module = imported_module("numpy");
    const Ref again(module == nullptr ? nullptr
                                      : call_method<"dtype">(module, form.get()).release());
    int same = 0;
    if (again) {
        same = PyObject_RichCompareBool(again.get(), dtype.get(), Py_EQ);
        if (same < 0) return false;
    } else {
        PyErr_Clear();
    }
    if (has_objects != 0 || has_size == 0 || same == 0 || metadata.get() != Py_None) {
        return failure_.set(
            "numpy data of objects, of no size or of an unusual dtype has no "
            "stored form");
    }
    return value(form.get());
}

// How far to the next multiple of 8 in the payload, as one byte, then so many zeros: a reader of
// the payload may then use the elements where they lie.
void StoredEncoder::align() {
    const std::size_t gap = (8 - (out_.size() + 1) % 8) % 8;
    std::uint8_t* const at = out_.room(1 + gap);
    *at = static_cast<std::uint8_t>(gap);
    std::memset(at + 1, 0, gap);
}

bool StoredEncoder::elements(PyObject* object) {
    if (const Piece piece(object); piece) {
        align();
        out_.raw(piece.view().buf, static_cast<std::size_t>(piece.view().len));
        return true;
    }
    // Some dtypes, those of dates among them, have no buffer.
    PyErr_Clear();
    const Ref bytes(call_method<"tobytes">(object, interned<"A">()).release());
    if (!bytes) return false;
    if (!PyBytes_CheckExact(bytes.get())) return refuse(object);
    align();
    out_.raw(PyBytes_AS_STRING(bytes.get()),
             static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())));
    return true;
}

bool StoredEncoder::numpy_array(PyObject* object) {
    const Ref shape = attribute_of<"shape">(object);
    const Ref flags = shape ? attribute_of<"flags">(object) : Ref();
    const int fortran = flags ? truth_of<"fnc">(flags.get()) : -1;
    if (fortran < 0) return false;
    out_.tag(Stored::NdArray);
    out_.byte(fortran != 0 ? 'F' : 'C');
    if (!numpy_type(object) || !value(shape.get())) return false;
    return elements(object);
}

bool StoredEncoder::numpy_scalar(PyObject* object) {
    out_.tag(Stored::NumpyScalar);
    if (!numpy_type(object)) return false;
    const Ref bytes(call_method<"tobytes">(object).release());
    if (!bytes) return false;
    if (!PyBytes_CheckExact(bytes.get())) return refuse(object);
    out_.run(PyBytes_AS_STRING(bytes.get()),
             static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())));
    return true;
}

}  // namespace millpond::bindings

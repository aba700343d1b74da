// Part of StoredDecoder: the types of the standard library. Its modules are imported when they are
// first needed; of all others, a class is found only if its module was imported already.
#include <Python.h>
#include <datetime.h>

#include <array>
#include <iterator>
#include <string>

#include "hot/canonical_types.hpp"
#include "hot/interned.hpp"
#include "hot/stored_decoder.hpp"
#include "hot/stored_library.hpp"

namespace millpond::bindings {
namespace {

// What a module of the standard library holds under a name, kept for good once it is found.
class Known {
  public:
    constexpr Known(const char* module, const char* name) noexcept : module_(module), name_(name) {}
    // Borrowed; null with an exception set.
    [[nodiscard]] PyObject* get() {
        if (object_ == nullptr) {
            const Ref module(PyImport_ImportModule(module_));
            if (module) object_ = PyObject_GetAttrString(module.get(), name_);
        }
        return object_;
    }

  private:
    const char* module_;
    const char* name_;
    PyObject* object_ = nullptr;
};

Known uuid_class{"uuid", "UUID"};
Known uuid_safety{"uuid", "SafeUUID"};
Known decimal_class{"decimal", "Decimal"};
Known fraction_class{"fractions", "Fraction"};
Known zone_info_class{"zoneinfo", "ZoneInfo"};
Known path_classes[] = {{"pathlib", kPathClasses[0]},
                        {"pathlib", kPathClasses[1]},
                        {"pathlib", kPathClasses[2]},
                        {"pathlib", kPathClasses[3]}};

bool has_datetime() {
    if (PyDateTimeAPI == nullptr) PyDateTime_IMPORT;
    return PyDateTimeAPI != nullptr;
}

// A moment of a day as it is stored.
struct Moment {
    int hour = 0, minute = 0, second = 0, micro = 0, fold = 0;
};

bool split(std::uint64_t word, Moment& moment) {
    constexpr std::uint64_t kDay = std::uint64_t{86'400} * 1'000'000;
    const std::uint64_t micros = word & ~(std::uint64_t{1} << 63);
    if (micros >= kDay) return false;
    const std::uint64_t seconds = micros / 1'000'000;
    moment.fold = static_cast<int>(word >> 63);
    moment.micro = static_cast<int>(micros % 1'000'000);
    moment.second = static_cast<int>(seconds % 60);
    moment.minute = static_cast<int>(seconds / 60 % 60);
    moment.hour = static_cast<int>(seconds / 3600);
    return true;
}

}  // namespace

// What a constructor returned. What it refused was not encoded by us.
Ref StoredDecoder::made(PyObject* result) {
    if (result == nullptr && PyErr_ExceptionMatches(PyExc_Exception) != 0 &&
        PyErr_ExceptionMatches(PyExc_MemoryError) == 0) {
        PyErr_Clear();
        return damaged();
    }
    return Ref(result);
}

Ref StoredDecoder::library(Stored tag) {
    switch (tag) {
        case Stored::Date: return date();
        case Stored::Time: return time();
        case Stored::DateTime: return date_time();
        case Stored::TimeDelta: return delta();
        case Stored::TimeZone: return time_zone(false);
        case Stored::NamedTimeZone: return time_zone(true);
        case Stored::ZoneInfo: return zone_info();
        case Stored::Uuid: return uuid();
        case Stored::Path: return path();
        case Stored::Decimal: return decimal();
        case Stored::Fraction: return fraction();
        case Stored::Member: return member(true);
        case Stored::Flags: return member(false);
        case Stored::NdArray: return numpy_array();
        case Stored::NumpyScalar: return numpy_scalar();
        default: return damaged();
    }
}

Ref StoredDecoder::date() {
    std::uint64_t day = 0;
    if (!word(day, 4)) return damaged();
    if (!has_datetime()) return {};
    return made(PyDate_FromDate(static_cast<int>(day >> 16), static_cast<int>(day >> 8 & 0xff),
                                static_cast<int>(day & 0xff)));
}

// The tzinfo of a time: None, a timezone or a ZoneInfo.
bool StoredDecoder::zone(Ref& value) {
    const std::uint8_t* const tag = take(1);
    if (tag != nullptr) {
        switch (static_cast<Stored>(*tag)) {
            case Stored::None: value = Ref::share(Py_None); return true;
            case Stored::TimeZone: value = time_zone(false); return static_cast<bool>(value);
            case Stored::NamedTimeZone: value = time_zone(true); return static_cast<bool>(value);
            case Stored::ZoneInfo: value = zone_info(); return static_cast<bool>(value);
            default: break;
        }
    }
    value = damaged();
    return false;
}

Ref StoredDecoder::time() {
    std::uint64_t stored = 0;
    Moment moment;
    Ref tzinfo;
    if (!word(stored) || !split(stored, moment)) return damaged();
    if (!has_datetime() || !zone(tzinfo)) return {};
    return made(PyDateTimeAPI->Time_FromTimeAndFold(moment.hour, moment.minute, moment.second,
                                                    moment.micro, tzinfo.get(), moment.fold,
                                                    PyDateTimeAPI->TimeType));
}

Ref StoredDecoder::date_time() {
    std::uint64_t day = 0;
    std::uint64_t stored = 0;
    Moment moment;
    Ref tzinfo;
    if (!word(day, 4) || !word(stored) || !split(stored, moment)) return damaged();
    if (!has_datetime() || !zone(tzinfo)) return {};
    return made(PyDateTimeAPI->DateTime_FromDateAndTimeAndFold(
        static_cast<int>(day >> 16), static_cast<int>(day >> 8 & 0xff),
        static_cast<int>(day & 0xff), moment.hour, moment.minute, moment.second, moment.micro,
        tzinfo.get(), moment.fold, PyDateTimeAPI->DateTimeType));
}

Ref StoredDecoder::delta() {
    std::uint64_t days = 0;
    std::uint64_t seconds = 0;
    std::uint64_t micros = 0;
    if (!word(days, 4) || !word(seconds, 4) || !word(micros, 4) || seconds >= 86'400 ||
        micros >= 1'000'000) {
        return damaged();
    }
    if (!has_datetime()) return {};
    return made(PyDelta_FromDSU(static_cast<std::int32_t>(static_cast<std::uint32_t>(days)),
                                static_cast<int>(seconds), static_cast<int>(micros)));
}

Ref StoredDecoder::time_zone(bool named) {
    const Ref offset = delta();
    if (!offset) return {};
    if (!named) return made(PyTimeZone_FromOffset(offset.get()));
    const Ref name = word_of_text();
    return name ? made(PyTimeZone_FromOffsetAndName(offset.get(), name.get())) : Ref();
}

// This host's data may lack the zone of another's.
Ref StoredDecoder::zone_info() {
    const Ref key = word_of_text();
    if (!key) return {};
    PyObject* const zones = zone_info_class.get();
    if (zones == nullptr) return {};
    Ref zone = made(PyObject_CallOneArg(zones, key.get()));
    if (!zone && fault_ == StoredFault::Damaged) return unknown();
    return zone;
}

// Past UUID's own constructor, which is slow, and past its __setattr__, which refuses.
Ref StoredDecoder::uuid() {
    const std::uint8_t* const safety = take(1);
    const std::uint8_t* const bytes = take(16);
    if (safety == nullptr || bytes == nullptr || *safety >= std::size(kUuidSafeties)) {
        return damaged();
    }
    auto* const type = reinterpret_cast<PyTypeObject*>(uuid_class.get());
    PyObject* const safeties = type == nullptr ? nullptr : uuid_safety.get();
    if (safeties == nullptr) return {};
    const Ref number(_PyLong_FromByteArray(bytes, 16, 1, 0));
    PyObject* const name = kUuidSafetyNames[*safety]();
    const Ref safe(name == nullptr ? nullptr : PyObject_GetAttr(safeties, name));
    const Ref nothing(PyTuple_New(0));
    if (!number || !safe || !nothing) return {};
    PyObject* const int_name = interned<"int">();
    PyObject* const safe_name = interned<"is_safe">();
    Ref object(PyBaseObject_Type.tp_new(type, nothing.get(), nullptr));
    if (!object || int_name == nullptr || safe_name == nullptr ||
        PyObject_GenericSetAttr(object.get(), int_name, number.get()) != 0 ||
        PyObject_GenericSetAttr(object.get(), safe_name, safe.get()) != 0) {
        return {};
    }
    return object;
}

// A path of Windows can be opened only there; its pure class works everywhere.
Ref StoredDecoder::path() {
    const std::uint8_t* const place = take(1);
    if (place == nullptr || *place >= std::size(kPathClasses)) return damaged();
    const Ref text = word_of_text();
    if (!text) return {};
    PyObject* const type = path_classes[*place].get();
    if (type == nullptr) return {};
    Ref path(PyObject_CallOneArg(type, text.get()));
    if (!path && PyErr_ExceptionMatches(PyExc_NotImplementedError) != 0) {
        PyErr_Clear();
        return unknown();
    }
    return path ? std::move(path) : made(nullptr);
}

Ref StoredDecoder::decimal() {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    if (!run(data, size)) return damaged();
    PyObject* const type = decimal_class.get();
    if (type == nullptr) return {};
    const Ref text(PyUnicode_DecodeLatin1(reinterpret_cast<const char*>(data),
                                          static_cast<Py_ssize_t>(size), nullptr));
    return text ? made(PyObject_CallOneArg(type, text.get())) : Ref();
}

Ref StoredDecoder::fraction() {
    if (left() == 0) return damaged();
    const std::uint8_t* const before = at_;
    const Ref numerator = number();
    const Ref denominator = numerator ? number() : Ref();
    if (!denominator) return {};
    // Each has a tag and a length before it.
    if (static_cast<std::size_t>(at_ - before) > 2 * (kMostFractionBytes + 4)) return damaged();
    PyObject* const type = fraction_class.get();
    if (type == nullptr) return {};
    return made(PyObject_CallFunctionObjArgs(type, numerator.get(), denominator.get(), nullptr));
}

// Only enums are looked for, and only in modules that are there: bytes choose no import.
Ref StoredDecoder::member(bool named) {
    TypeName names;
    for (std::string* const each : {&names.module, &names.qualname}) {
        const std::uint8_t* data = nullptr;
        std::size_t size = 0;
        if (!run(data, size)) return damaged();
        each->assign(reinterpret_cast<const char*>(data), size);
    }
    const Ref which = named ? word_of_text() : number();
    if (!which) return {};
    PyTypeObject* const type = find_class(names);
    if (type == nullptr || !is_enum(type)) return unknown();
    if (named) {
        PyObject* const found = enum_member(type, which.get());
        return found == nullptr ? unknown() : Ref::share(found);
    }
    if (!is_flag(type)) return unknown();
    Ref flags = made(PyObject_CallOneArg(reinterpret_cast<PyObject*>(type), which.get()));
    return flags && Py_TYPE(flags.get()) == type ? std::move(flags) : unknown();
}

}  // namespace millpond::bindings

#include "hot/stored_decoder.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "hot/canonical_walker.hpp"

namespace millpond::bindings {
namespace {

// Whether every byte is below 0x80.
bool is_ascii(const std::uint8_t* data, std::size_t size) noexcept {
    std::uint64_t high = 0;
    for (; size >= 8; data += 8, size -= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, data, 8);
        high |= word;
    }
    for (; size > 0; ++data, --size) high |= *data;
    return (high & 0x8080808080808080U) == 0;
}

// Texts that were keys of dicts lately, found by their bytes. Records have few names, so most of
// them are here, with their hash known, and are one object in all values that were read.
constexpr std::size_t kMostKeyBytes = 32;
constexpr int kRecentBits = 9;
std::array<PyObject*, std::size_t{1} << kRecentBits> recent_keys{};

PyObject*& recent_key(const std::uint8_t* data, std::size_t size) noexcept {
    std::uint64_t mixed = size;
    for (; size >= 8; data += 8, size -= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, data, 8);
        mixed = (mixed ^ word) * 0x9E3779B97F4A7C15U;
        mixed ^= mixed >> 32;
    }
    std::uint64_t word = 0;
    std::memcpy(&word, data, size);
    mixed = (mixed ^ word) * 0x9E3779B97F4A7C15U;
    return recent_keys[mixed >> (64 - kRecentBits)];
}

}  // namespace

StoredDecoder::Level::operator bool() const noexcept { return decoder_.depth_ <= kMaxDepth; }

Ref StoredDecoder::whole() {
    Ref read = value();
    return read && at_ != end_ ? damaged() : std::move(read);
}

bool StoredDecoder::count(std::uint64_t& value) noexcept {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const std::uint8_t* const byte = take(1);
        if (byte == nullptr) return false;
        const std::uint64_t bits = *byte & 0x7fU;
        if (shift == 63 && bits > 1) return false;
        value |= bits << shift;
        if (*byte < 0x80) return true;
    }
    return false;
}

bool StoredDecoder::count_of(std::size_t each, Py_ssize_t& value) noexcept {
    std::uint64_t number = 0;
    if (!count(number) || number > left() / each) return false;
    value = static_cast<Py_ssize_t>(number);
    return true;
}

bool StoredDecoder::word(std::uint64_t& value, std::size_t size) noexcept {
    const std::uint8_t* const bytes = take(size);
    if (bytes == nullptr) return false;
    value = 0;
    for (std::size_t i = size; i-- > 0;) value = value << 8 | bytes[i];
    return true;
}

bool StoredDecoder::run(const std::uint8_t*& data, std::size_t& size) noexcept {
    std::uint64_t length = 0;
    if (!count(length) || length > left()) return false;
    size = static_cast<std::size_t>(length);
    data = take(size);
    return true;
}

Ref StoredDecoder::value() {
    const std::uint8_t* const first = take(1);
    if (first == nullptr) return damaged();
    const std::uint8_t tag = *first;
    if (tag >= static_cast<std::uint8_t>(Stored::SmallInt)) {
        return Ref(PyLong_FromLong(tag - static_cast<int>(Stored::SmallInt)));
    }
    if (tag >= static_cast<std::uint8_t>(Stored::ShortAscii)) {
        return ascii(tag - static_cast<std::size_t>(Stored::ShortAscii));
    }
    return tagged(static_cast<Stored>(tag));
}

Ref StoredDecoder::tagged(Stored tag) {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    switch (tag) {
        case Stored::None: return Ref::share(Py_None);
        case Stored::False: return Ref::share(Py_False);
        case Stored::True: return Ref::share(Py_True);
        case Stored::Integer: return integer();
        case Stored::Natural: return big_integer(false);
        case Stored::Negative: return big_integer(true);
        case Stored::Float: {
            double number = 0;
            return floating(number) ? Ref(PyFloat_FromDouble(number)) : damaged();
        }
        case Stored::Ascii: {
            std::uint64_t length = 0;
            return count(length) && length <= left() ? ascii(static_cast<std::size_t>(length))
                                                     : damaged();
        }
        case Stored::Text: return text();
        case Stored::Bytes:
            if (!run(data, size)) return damaged();
            return Ref(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data),
                                                 static_cast<Py_ssize_t>(size)));
        case Stored::ByteArray:
            if (!run(data, size)) return damaged();
            return Ref(PyByteArray_FromStringAndSize(reinterpret_cast<const char*>(data),
                                                     static_cast<Py_ssize_t>(size)));
        case Stored::List: return list();
        case Stored::Tuple: return tuple();
        case Stored::Set: return set(false);
        case Stored::FrozenSet: return set(true);
        case Stored::Dict: return dict();
        case Stored::Complex: {
            Py_complex parts{};
            if (!floating(parts.real) || !floating(parts.imag)) return damaged();
            return Ref(PyComplex_FromCComplex(parts));
        }
        case Stored::Range: return range();
        case Stored::Ellipsis: return Ref::share(Py_Ellipsis);
        default: return library(tag);
    }
}

// REQUIRES nothing of `size`: it may be more than there is.
inline Ref StoredDecoder::ascii(std::size_t size) {
    const std::uint8_t* const data = take(size);
    if (data == nullptr || !is_ascii(data, size)) return damaged();
    if (size <= 1) {  // CPython has one object for each of these
        return Ref(PyUnicode_FromStringAndSize(reinterpret_cast<const char*>(data),
                                               static_cast<Py_ssize_t>(size)));
    }
    Ref made(PyUnicode_New(static_cast<Py_ssize_t>(size), 0x7f));
    if (made) std::memcpy(PyUnicode_DATA(made.get()), data, size);
    return made;
}

Ref StoredDecoder::text() {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    if (!run(data, size)) return damaged();
    Ref made(PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(data),
                                  static_cast<Py_ssize_t>(size), "surrogatepass"));
    if (!made && PyErr_ExceptionMatches(PyExc_UnicodeError) != 0) {
        PyErr_Clear();
        return damaged();
    }
    return made;
}

Ref StoredDecoder::integer() {
    std::uint64_t bits = 0;
    if (!count(bits)) return damaged();
    const std::uint64_t number = bits >> 1 ^ ((bits & 1) != 0 ? ~std::uint64_t{0} : 0);
    return Ref(PyLong_FromLongLong(static_cast<std::int64_t>(number)));
}

Ref StoredDecoder::big_integer(bool negative) {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    if (!run(data, size)) return damaged();
    Ref magnitude(_PyLong_FromByteArray(data, size, 1, 0));
    if (!magnitude || !negative) return magnitude;
    return Ref(PyNumber_Negative(magnitude.get()));
}

bool StoredDecoder::floating(double& value) noexcept {
    std::uint64_t bits = 0;
    if (!word(bits)) return false;
    value = std::bit_cast<double>(bits);
    return true;
}

Ref StoredDecoder::list() {
    const Level level(*this);
    Py_ssize_t size = 0;
    if (!level || !count_of(1, size)) return damaged();
    Ref made(PyList_New(size));
    if (!made) return made;
    for (Py_ssize_t i = 0; i < size; ++i) {
        Ref item = value();
        if (!item) return item;
        PyList_SET_ITEM(made.get(), i, item.release());
    }
    return made;
}

Ref StoredDecoder::tuple() {
    const Level level(*this);
    Py_ssize_t size = 0;
    if (!level || !count_of(1, size)) return damaged();
    Ref made(PyTuple_New(size));
    if (!made) return made;
    for (Py_ssize_t i = 0; i < size; ++i) {
        Ref item = value();
        if (!item) return item;
        PyTuple_SET_ITEM(made.get(), i, item.release());
    }
    return made;
}

Ref StoredDecoder::set(bool frozen) {
    const Level level(*this);
    Py_ssize_t size = 0;
    if (!level || !count_of(1, size)) return damaged();
    Ref made(frozen ? PyFrozenSet_New(nullptr) : PySet_New(nullptr));
    if (!made) return made;
    for (Py_ssize_t i = 0; i < size; ++i) {
        const Ref member = value();
        if (!member || PySet_Add(made.get(), member.get()) != 0) return {};
    }
    return PySet_GET_SIZE(made.get()) == size ? std::move(made) : damaged();
}

Ref StoredDecoder::key() {
    const std::uint8_t tag = at_ == end_ ? 0 : *at_;
    if (tag == static_cast<std::uint8_t>(Stored::SameKey)) {
        ++at_;
        std::uint64_t number = 0;
        if (!count(number) || number >= keys_.size()) return damaged();
        return Ref::share(keys_[static_cast<std::size_t>(number)].get());
    }
    if (tag <= static_cast<std::uint8_t>(Stored::ShortAscii) ||
        tag >= static_cast<std::uint8_t>(Stored::SmallInt)) {
        return value();
    }
    ++at_;
    Ref read = short_key(tag - static_cast<std::size_t>(Stored::ShortAscii));
    if (read && keys_.size() < kMostSharedKeys) keys_.push_back(Ref::share(read.get()));
    return read;
}

Ref StoredDecoder::short_key(std::size_t size) {
    if (size > kMostKeyBytes || size > left()) return ascii(size);
    PyObject*& recent = recent_key(at_, size);
    if (recent != nullptr && static_cast<std::size_t>(PyUnicode_GET_LENGTH(recent)) == size &&
        std::memcmp(PyUnicode_1BYTE_DATA(recent), at_, size) == 0) {
        at_ += size;
        return Ref::share(recent);
    }
    Ref read = ascii(size);
    if (read) Py_XSETREF(recent, Py_NewRef(read.get()));
    return read;
}

Ref StoredDecoder::dict() {
    const Level level(*this);
    Py_ssize_t size = 0;
    if (!level || !count_of(2, size)) return damaged();
    Ref made(PyDict_New());
    if (!made) return made;
    for (Py_ssize_t i = 0; i < size; ++i) {
        const Ref name = key();
        if (!name) return {};
        const Ref mapped = value();
        if (!mapped || PyDict_SetItem(made.get(), name.get(), mapped.get()) != 0) return {};
    }
    return PyDict_GET_SIZE(made.get()) == size ? std::move(made) : damaged();
}

// Read by their tags, so that nothing can nest here without being counted.
Ref StoredDecoder::number() {
    const std::uint8_t tag = at_ == end_ ? 0 : *at_;
    const bool is_one = tag >= static_cast<std::uint8_t>(Stored::SmallInt) ||
                        tag == static_cast<std::uint8_t>(Stored::Integer) ||
                        tag == static_cast<std::uint8_t>(Stored::Natural) ||
                        tag == static_cast<std::uint8_t>(Stored::Negative);
    return is_one ? value() : damaged();
}

Ref StoredDecoder::word_of_text() {
    const std::uint8_t tag = at_ == end_ ? 0 : *at_;
    const bool is_one = (tag >= static_cast<std::uint8_t>(Stored::ShortAscii) &&
                         tag < static_cast<std::uint8_t>(Stored::SmallInt)) ||
                        tag == static_cast<std::uint8_t>(Stored::Ascii) ||
                        tag == static_cast<std::uint8_t>(Stored::Text);
    return is_one ? value() : damaged();
}

Ref StoredDecoder::range() {
    const Ref start = number();
    const Ref stop = start ? number() : Ref();
    const Ref step = stop ? number() : Ref();
    if (!step) return {};
    return made(PyObject_CallFunctionObjArgs(reinterpret_cast<PyObject*>(&PyRange_Type),
                                             start.get(), stop.get(), step.get(), nullptr));
}

}  // namespace millpond::bindings

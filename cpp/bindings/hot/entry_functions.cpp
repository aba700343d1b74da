#include "hot/entry_functions.hpp"

#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "hot/entry_head.hpp"
#include "hot/heap_type.hpp"
#include "hot/stored_decoder.hpp"
#include "hot/stored_encoder.hpp"
#include "hot/zstd.hpp"
#include "millpond/cache/envelope.hpp"

namespace millpond::bindings {
namespace {

bool check_count(const char* function, Py_ssize_t count, Py_ssize_t wanted) {
    if (count == wanted) return true;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, %zd were given", function, wanted,
                 count);
    return false;
}

// A whole number of at most `most`.
bool read_number(PyObject* object, std::uint64_t most, std::uint64_t& number) {
    number = PyLong_AsUnsignedLongLong(object);
    if (number == static_cast<std::uint64_t>(-1) && PyErr_Occurred() != nullptr) return false;
    if (number > most) {
        PyErr_Format(PyExc_OverflowError, "%llu: at most %llu is allowed",
                     static_cast<unsigned long long>(number),
                     static_cast<unsigned long long>(most));
        return false;
    }
    return true;
}

bool read_most(PyObject* object, std::uint32_t& most) {
    std::uint64_t number = 0;
    if (!read_number(object, kMostEntryBytes, number)) return false;
    most = static_cast<std::uint32_t>(number);
    return true;
}

bool read_amount(PyObject* object, double& amount) {
    amount = PyFloat_AsDouble(object);
    if (amount == -1 && PyErr_Occurred() != nullptr) return false;
    if (!std::isfinite(amount) || amount < 0) {
        PyErr_SetString(PyExc_ValueError, "an amount of an entry is finite and >= 0");
        return false;
    }
    amount += 0.0;  // -0.0 becomes 0.0
    return true;
}

// Turns what a walk threw or noted into Unencodable, but lets through what is not about the value:
// KeyboardInterrupt, MemoryError.
PyObject* not_encoded(StoredEncoder& encoder) {
    if (PyErr_Occurred() == nullptr) {
        const Failure& failure = encoder.failure();
        raise_unencodable(encoder.too_deep() ? "depth" : "type",
                          failure.path("the value") + ": " + failure.what());
        return nullptr;
    }
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0 ||
        PyErr_ExceptionMatches(PyExc_MemoryError) != 0) {
        return nullptr;
    }
    PyObject *kind = nullptr, *value = nullptr, *trace = nullptr;
    PyErr_Fetch(&kind, &value, &trace);
    PyErr_NormalizeException(&kind, &value, &trace);
    const std::string name = Py_TYPE(value)->tp_name;
    raise_unencodable("failed",
                      encoder.failure().path("the value") + ": encoding it raised " + name);
    PyObject *our_kind = nullptr, *ours = nullptr, *our_trace = nullptr;
    PyErr_Fetch(&our_kind, &ours, &our_trace);
    PyErr_NormalizeException(&our_kind, &ours, &our_trace);
    if (ours != nullptr) PyException_SetCause(ours, Py_XNewRef(value));
    PyErr_Restore(our_kind, ours, our_trace);
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return nullptr;
}

PyObject* encode_tagged(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    std::uint32_t most = 0;
    if (!check_count("encode_tagged", count, 2) || !read_most(arguments[1], most)) return nullptr;
    try {
        StoredWriter out(most);
        StoredEncoder encoder(out);
        if (!encoder.value(arguments[0])) return not_encoded(encoder);
        if (out.size() > most) throw OverBound{};
        return PyBytes_FromStringAndSize(out.data(), static_cast<Py_ssize_t>(out.size()));
    } catch (const OverBound&) {
        raise_unencodable("oversized", "it takes more than " + std::to_string(most) + " bytes");
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    }
    return nullptr;
}

// The value of `size` bytes within `owner`.
PyObject* decoded(PyObject* owner, const char* data, std::size_t size, bool readonly) {
    try {
        StoredDecoder decoder(owner, data, size, readonly);
        Ref value = decoder.whole();
        if (value) return value.release();
        if (PyErr_Occurred() == nullptr) {
            raise_unreadable(decoder.fault() == StoredFault::Type ? "type" : "damaged");
        } else if (PyErr_ExceptionMatches(PyExc_Exception) != 0 &&
                   PyErr_ExceptionMatches(PyExc_MemoryError) == 0) {
            // An unhashable key, say: nobody encodes that.
            PyErr_Clear();
            raise_unreadable("damaged");
        }
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    }
    return nullptr;
}

PyObject* decode_tagged(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    std::span<const std::byte> bytes;
    if (!check_count("decode_tagged", count, 2) || !entry_bytes(arguments[0], bytes)) {
        return nullptr;
    }
    const int readonly = PyObject_IsTrue(arguments[1]);
    if (readonly < 0) return nullptr;
    return decoded(arguments[0], PyBytes_AS_STRING(arguments[0]), bytes.size(), readonly != 0);
}

// One (name, stamp) pair; the name is 32 hexadecimal digits.
bool read_stamp(PyObject* pair, EntryStamp& stamp) {
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
        !read_generation(PyTuple_GET_ITEM(pair, 0), stamp.name)) {
        PyErr_SetString(PyExc_ValueError,
                        "a stamp is (32 hexadecimal digits in lower case, a whole number)");
        return false;
    }
    return read_number(PyTuple_GET_ITEM(pair, 1), ~std::uint64_t{0}, stamp.value);
}

bool read_stamps(PyObject* given, std::vector<EntryStamp>& stamps) {
    const Ref pairs(PySequence_Fast(given, "stamps are a sequence of pairs"));
    if (!pairs) return false;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(pairs.get());
    if (count > static_cast<Py_ssize_t>(kMostStamps)) {
        PyErr_Format(PyExc_ValueError, "%zd stamps: an entry has at most %zd", count,
                     static_cast<Py_ssize_t>(kMostStamps));
        return false;
    }
    stamps.resize(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < stamps.size(); ++i) {
        PyObject* const pair = PySequence_Fast_GET_ITEM(pairs.get(), static_cast<Py_ssize_t>(i));
        if (!read_stamp(pair, stamps[i])) return false;
    }
    return true;
}

constexpr Py_ssize_t kHeaderArguments = 10;

// codec, flags, content_size, schema, stored_us, expires_us, fresh_us, cost, load_seconds, stamps
bool read_header(PyObject* const* arguments, EnvelopeHeader& header,
                 std::vector<EntryStamp>& stamps) {
    std::uint64_t codec = 0;
    std::uint64_t flags = 0;
    constexpr std::uint64_t kAny = ~std::uint64_t{0};
    if (!read_number(arguments[0], static_cast<std::uint64_t>(EntryCodec::Pickle), codec) ||
        !read_number(arguments[1], kEntryFlags, flags) ||
        !read_most(arguments[2], header.content_size) ||
        !read_number(arguments[3], kAny, header.schema) ||
        !read_number(arguments[4], kAny, header.stored_us) ||
        !read_number(arguments[5], kAny, header.expires_us) ||
        !read_number(arguments[6], kAny, header.fresh_us) ||
        !read_amount(arguments[7], header.cost) ||
        !read_amount(arguments[8], header.load_seconds) || !read_stamps(arguments[9], stamps)) {
        return false;
    }
    if (header.fresh_us != 0 && header.expires_us != 0 && header.fresh_us >= header.expires_us) {
        PyErr_SetString(PyExc_ValueError, "a value is fresh for less than its entry's life");
        return false;
    }
    if (codec == 0) {
        PyErr_SetString(PyExc_ValueError, "codec 0 is none");
        return false;
    }
    header.codec = static_cast<EntryCodec>(codec);
    header.flags = static_cast<std::uint8_t>(flags);
    return true;
}

bool check_payload_size(const EnvelopeHeader& header, std::size_t size) {
    const bool as_it_is = (header.flags & (kEntryCompressed | kEntryEncrypted)) == 0 &&
                          header.codec != EntryCodec::Pickle;
    if (as_it_is ? size == header.content_size : size <= kMostEntryBytes + kMostPayloadExtra) {
        return true;
    }
    PyErr_SetString(PyExc_ValueError, "the payload's size does not fit the header");
    return false;
}

PyObject* make_entry(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    EnvelopeHeader header;
    std::span<const std::byte> payload;
    if (!check_count("make_entry", count, kHeaderArguments + 1) ||
        !entry_bytes(arguments[kHeaderArguments], payload)) {
        return nullptr;
    }
    try {
        std::vector<EntryStamp> stamps;
        if (!read_header(arguments, header, stamps) ||
            !check_payload_size(header, payload.size())) {
            return nullptr;
        }
        header.payload_size = static_cast<std::uint32_t>(payload.size());
        const std::size_t front = envelope_size(header, stamps.size());
        Ref entry(
            PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(front + payload.size())));
        if (!entry) return nullptr;
        const std::span<std::byte> bytes = std::as_writable_bytes(
            std::span(PyBytes_AS_STRING(entry.get()), front + payload.size()));
        write_envelope(bytes, header, stamps);
        if (!payload.empty()) std::memcpy(bytes.data() + front, payload.data(), payload.size());
        seal_envelope(bytes);
        return entry.release();
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

// The bytes of the header that an entry of such a payload will have, but for its checksums.
PyObject* associated_with(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    EnvelopeHeader header;
    std::uint64_t size = 0;
    if (!check_count("associated_with", count, kHeaderArguments + 1) ||
        !read_number(arguments[kHeaderArguments], kMostEntryBytes + kMostPayloadExtra, size)) {
        return nullptr;
    }
    try {
        std::vector<EntryStamp> stamps;
        if (!read_header(arguments, header, stamps) || !check_payload_size(header, size)) {
            return nullptr;
        }
        header.payload_size = static_cast<std::uint32_t>(size);
        std::vector<std::byte> bytes(envelope_size(header, stamps.size()));
        write_envelope(bytes, header, stamps);
        return PyBytes_FromStringAndSize(
            reinterpret_cast<const char*>(bytes.data()),
            static_cast<Py_ssize_t>(bytes.size() - kEnvelopeChecksumBytes));
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

PyObject* read_head_function(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    std::uint32_t most = 0;
    if (!check_count("read_head", count, 2) || !read_most(arguments[1], most)) return nullptr;
    return read_head(arguments[0], most);
}

PyObject* read_value(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    std::span<const std::byte> bytes;
    std::uint32_t most = 0;
    PlainTerms terms;
    if (!check_count("read_value", count, 5) || !entry_bytes(arguments[0], bytes) ||
        !read_number(arguments[1], ~std::uint64_t{0}, terms.schema) ||
        !read_most(arguments[2], most)) {
        return nullptr;
    }
    const int readonly = PyObject_IsTrue(arguments[3]);
    if (readonly < 0) return nullptr;
    Envelope found;
    if (const EntryFault fault = read_envelope(bytes, found, most); fault != EntryFault::None) {
        raise_unreadable(fault);
        return nullptr;
    }
    terms.readonly = readonly != 0;
    terms.unpack = arguments[4];
    return plain_value(arguments[0], found, terms);
}

// The verified payload behind a head.
PyObject* payload_of(PyObject*, PyObject* head) {
    const Envelope* const envelope = envelope_of(head);
    if (envelope == nullptr) return nullptr;
    if (!payload_is_whole(*envelope)) {
        raise_unreadable(EntryFault::Damaged);
        return nullptr;
    }
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(envelope->payload.data()),
                                     static_cast<Py_ssize_t>(envelope->payload.size()));
}

PyObject* associated_of(PyObject*, PyObject* head) {
    const Envelope* const envelope = envelope_of(head);
    if (envelope == nullptr) return nullptr;
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(envelope->associated.data()),
                                     static_cast<Py_ssize_t>(envelope->associated.size()));
}

PyMethodDef functions[] = {
    method("encode_tagged", &encode_tagged, METH_FASTCALL,
           "encode_tagged($module, value, most, /)\n--\n\n"
           "The tagged encoding of a value, in at most so many bytes."),
    method("decode_tagged", &decode_tagged, METH_FASTCALL,
           "decode_tagged($module, content, readonly, /)\n--\n\n"
           "The value of a tagged encoding."),
    method("make_entry", &make_entry, METH_FASTCALL,
           "make_entry($module, codec, flags, content_size, schema, stored_us, expires_us, "
           "fresh_us, cost, load_seconds, stamps, payload, /)\n--\n\nA stored entry."),
    method("associated_with", &associated_with, METH_FASTCALL,
           "associated_with($module, codec, flags, content_size, schema, stored_us, expires_us, "
           "fresh_us, cost, load_seconds, stamps, payload_size, /)\n--\n\n"
           "What an authenticated payload of an entry is bound to."),
    method("read_head", &read_head_function, METH_FASTCALL,
           "read_head($module, entry, most, /)\n--\n\nThe head of an entry."),
    method("read_value", &read_value, METH_FASTCALL,
           "read_value($module, entry, schema, most, readonly, unpack, /)\n--\n\n"
           "The value of a plain tagged entry; NotImplemented for other entries."),
    method("payload_of", &payload_of, METH_O,
           "payload_of($module, head, /)\n--\n\nThe payload behind a head, verified."),
    method("associated_of", &associated_of, METH_O,
           "associated_of($module, head, /)\n--\n\nWhat the payload behind a head is bound to."),
    {},
};

// The content of a compressed payload; None if nobody here can read it.
Ref unpacked(const Envelope& found, const PlainTerms& terms) {
    if (found.header.content_size <= kSmallContent) {
        Ref content = unpack_zstd(found.payload, found.header.content_size);
        if (content || PyErr_Occurred() != nullptr) return content;
    }
    const Ref packed(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(found.payload.data()),
                                               static_cast<Py_ssize_t>(found.payload.size())));
    const Ref size(packed ? PyLong_FromUnsignedLong(found.header.content_size) : nullptr);
    if (!size) return Ref();
    PyObject* const arguments[] = {packed.get(), size.get()};
    return Ref(PyObject_Vectorcall(terms.unpack, arguments, 2, nullptr));
}

}  // namespace

PyObject* plain_value(PyObject* bytes, const Envelope& found, const PlainTerms& terms) {
    if (!payload_is_whole(found)) {
        raise_unreadable(EntryFault::Damaged);
        return nullptr;
    }
    if (found.header.schema != terms.schema) {
        raise_unreadable("schema");
        return nullptr;
    }
    if (found.header.codec != EntryCodec::Tagged || (found.header.flags & kEntryEncrypted) != 0) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    const auto* const payload = reinterpret_cast<const char*>(found.payload.data());
    if ((found.header.flags & kEntryCompressed) == 0) {
        return decoded(bytes, payload, found.payload.size(), terms.readonly);
    }
    const Ref content = unpacked(found, terms);
    if (!content) return nullptr;
    if (content.get() == Py_None) Py_RETURN_NOTIMPLEMENTED;  // The codec knows why.
    std::span<const std::byte> whole;
    if (!entry_bytes(content.get(), whole)) return nullptr;
    if (whole.size() != found.header.content_size) {
        raise_unreadable(EntryFault::Damaged);
        return nullptr;
    }
    return decoded(content.get(), PyBytes_AS_STRING(content.get()), whole.size(), terms.readonly);
}

int init_entries(PyObject* module) {
    if (init_entry_head(module) != 0 || init_zstd(module) != 0) return -1;
    if (PyModule_AddIntConstant(module, "MOST_ENTRY_BYTES", kMostEntryBytes) != 0 ||
        PyModule_AddIntConstant(module, "MOST_STAMPS", kMostStamps) != 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}

}  // namespace millpond::bindings

#include "hot/entry_head.hpp"

#include <array>
#include <cstring>
#include <string>

#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* head_type = nullptr;
PyObject* unencodable = nullptr;
PyObject* unreadable = nullptr;

struct HeadObject {
    PyObject_HEAD;
    PyObject* entry;  // bytes, which the envelope borrows from
    Envelope envelope;
};

HeadObject* as_head(PyObject* self) noexcept { return reinterpret_cast<HeadObject*>(self); }
const EnvelopeHeader& header_of(PyObject* self) noexcept { return as_head(self)->envelope.header; }

void dealloc(PyObject* self) {
    Py_CLEAR(as_head(self)->entry);
    release_object(as_head(self));
}

PyObject* get_codec(PyObject* self, void*) {
    constexpr std::array kNames{"", "tagged", "msgpack", "pickle"};
    return PyUnicode_FromString(kNames[static_cast<std::size_t>(header_of(self).codec)]);
}

template <std::uint8_t flag>
PyObject* get_flag(PyObject* self, void*) {
    return PyBool_FromLong(header_of(self).flags & flag);
}

template <auto member>
PyObject* get_number(PyObject* self, void*) {
    return PyLong_FromUnsignedLongLong(header_of(self).*member);
}

template <auto member>
PyObject* get_amount(PyObject* self, void*) {
    return PyFloat_FromDouble(header_of(self).*member);
}

PyObject* get_size(PyObject* self, void*) {
    return PyLong_FromSsize_t(PyBytes_GET_SIZE(as_head(self)->entry));
}

PyObject* get_stamps(PyObject* self, void*) {
    const Envelope& envelope = as_head(self)->envelope;
    const std::size_t count = envelope.stamps.size() / kStampBytes;
    Ref stamps(PyTuple_New(static_cast<Py_ssize_t>(count)));
    for (std::size_t i = 0; stamps && i < count; ++i) {
        const EntryStamp stamp = stamp_at(envelope, i);
        const Ref name(generation_text(stamp.name));
        const Ref value(PyLong_FromUnsignedLongLong(stamp.value));
        PyObject* const pair = name && value ? PyTuple_Pack(2, name.get(), value.get()) : nullptr;
        if (pair == nullptr) return nullptr;
        PyTuple_SET_ITEM(stamps.get(), static_cast<Py_ssize_t>(i), pair);
    }
    return stamps.release();
}

PyObject* repr(PyObject* self) {
    const EnvelopeHeader& header = header_of(self);
    const Ref codec(get_codec(self, nullptr));
    if (!codec) return nullptr;
    return PyUnicode_FromFormat("<Head of a %zd-byte entry: %U%s%s%s>",
                                PyBytes_GET_SIZE(as_head(self)->entry), codec.get(),
                                (header.flags & kEntryCompressed) != 0 ? ", compressed" : "",
                                (header.flags & kEntryEncrypted) != 0 ? ", encrypted" : "",
                                (header.flags & kEntryNegative) != 0 ? ", negative" : "");
}

PyGetSetDef properties[] = {
    {"codec", &get_codec, nullptr, "\"tagged\", \"msgpack\" or \"pickle\".", nullptr},
    {"compressed", &get_flag<kEntryCompressed>, nullptr, "Whether zstd made it smaller.", nullptr},
    {"encrypted", &get_flag<kEntryEncrypted>, nullptr, "Whether a key is needed.", nullptr},
    {"negative", &get_flag<kEntryNegative>, nullptr, "Whether it says that there is no value.",
     nullptr},
    {"schema", &get_number<&EnvelopeHeader::schema>, nullptr, "Digest of the annotation, or 0.",
     nullptr},
    {"stored_us", &get_number<&EnvelopeHeader::stored_us>, nullptr,
     "When it was stored: microseconds by the clock of the tier.", nullptr},
    {"expires_us", &get_number<&EnvelopeHeader::expires_us>, nullptr,
     "When its life is over, by the same clock; 0: never.", nullptr},
    {"fresh_us", &get_number<&EnvelopeHeader::fresh_us>, nullptr,
     "When its value becomes stale, by the same clock; 0: not as long as it lives.", nullptr},
    {"cost", &get_amount<&EnvelopeHeader::cost>, nullptr, "Dollars that the call cost.", nullptr},
    {"load_seconds", &get_amount<&EnvelopeHeader::load_seconds>, nullptr,
     "Seconds that the call took.", nullptr},
    {"stamps", &get_stamps, nullptr, "The (generation name, stamp) pairs that it was stored under.",
     nullptr},
    {"size", &get_size, nullptr, "Bytes of the entry.", nullptr},
    {"payload_size", &get_number<&EnvelopeHeader::payload_size>, nullptr, "Bytes of the payload.",
     nullptr},
    {"content_size", &get_number<&EnvelopeHeader::content_size>, nullptr,
     "Bytes of the encoded value, decrypted and decompressed.", nullptr},
    {},
};

// Holds only bytes, so no cycle can pass through it and the collector need not know.
PyType_Slot slots[] = {
    slot(Py_tp_dealloc, &dealloc),
    slot(Py_tp_repr, &repr),
    {Py_tp_getset, properties},
    {},
};
PyType_Spec spec{"millpond._engine.Head", sizeof(HeadObject), 0,
                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                 slots};

// A subclass of Exception with an attribute that has a default; kept for good. -1 on failure.
int add_outcome(PyObject* module, const char* name, const char* doc, const char* attribute,
                const char* value, PyObject*& kept) {
    const std::string full = std::string("millpond._engine.") + name;
    const Ref dict(Py_BuildValue("{s:s}", attribute, value));
    if (!dict) return -1;
    PyObject* const made =
        PyErr_NewExceptionWithDoc(full.c_str(), doc, PyExc_Exception, dict.get());
    if (made == nullptr) return -1;
    kept = made;
    return PyModule_AddObjectRef(module, name, made);
}

void raise_outcome(PyObject* type, const char* attribute, const char* value,
                   std::string_view message) noexcept {
    const Ref text(PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()),
                                        "backslashreplace"));
    const Ref word(PyUnicode_FromString(value));
    const Ref error(text && word ? PyObject_CallOneArg(type, text.get()) : nullptr);
    if (error && PyObject_SetAttrString(error.get(), attribute, word.get()) == 0) {
        PyErr_SetObject(type, error.get());
    }
}

}  // namespace

void raise_unencodable(const char* reason, std::string_view message) noexcept {
    raise_outcome(unencodable, "reason", reason, message);
}

void raise_unreadable(const char* kind) noexcept { raise_outcome(unreadable, "kind", kind, kind); }

void raise_unreadable(EntryFault fault) noexcept {
    constexpr std::array kKinds{"", "foreign", "version", "truncated", "damaged", "oversized"};
    raise_unreadable(kKinds[static_cast<std::size_t>(fault)]);
}

bool is_unreadable() noexcept { return PyErr_ExceptionMatches(unreadable) != 0; }

bool read_generation(PyObject* text, std::array<std::byte, 16>& name) noexcept {
    const auto digit = [](Py_UCS1 letter) {
        return letter >= '0' && letter <= '9'   ? letter - '0'
               : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10
                                                : -1;
    };
    if (!PyUnicode_Check(text) || !PyUnicode_IS_COMPACT_ASCII(text) ||
        PyUnicode_GET_LENGTH(text) != 32) {
        return false;
    }
    const Py_UCS1* letters = PyUnicode_1BYTE_DATA(text);
    int all = 0;
    for (std::byte& byte : name) {
        const int value = digit(letters[0]) * 16 | digit(letters[1]);
        byte = static_cast<std::byte>(value);
        all |= value;
        letters += 2;
    }
    return all >= 0;
}

PyObject* generation_text(const std::array<std::byte, 16>& name) noexcept {
    constexpr char kDigits[] = "0123456789abcdef";
    PyObject* const text = PyUnicode_New(32, 0x7f);
    if (text == nullptr) return nullptr;
    auto* out = static_cast<Py_UCS1*>(PyUnicode_DATA(text));
    for (const std::byte byte : name) {
        *out++ = static_cast<Py_UCS1>(kDigits[std::to_integer<unsigned>(byte) >> 4]);
        *out++ = static_cast<Py_UCS1>(kDigits[std::to_integer<unsigned>(byte) & 15]);
    }
    return text;
}

bool entry_bytes(PyObject* object, std::span<const std::byte>& bytes) noexcept {
    if (!PyBytes_CheckExact(object)) {
        PyErr_Format(PyExc_TypeError, "an entry is bytes, not %.100s", Py_TYPE(object)->tp_name);
        return false;
    }
    bytes = std::as_bytes(
        std::span(PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object))));
    return true;
}

PyObject* read_head(PyObject* entry, std::uint32_t most) noexcept {
    std::span<const std::byte> bytes;
    if (!entry_bytes(entry, bytes)) return nullptr;
    Envelope envelope;
    if (const EntryFault fault = read_envelope(bytes, envelope, most); fault != EntryFault::None) {
        raise_unreadable(fault);
        return nullptr;
    }
    auto* const made = PyObject_New(HeadObject, head_type);
    if (made == nullptr) return nullptr;
    made->entry = Py_NewRef(entry);
    made->envelope = envelope;
    return as_object(made);
}

const Envelope* envelope_of(PyObject* head) noexcept {
    if (Py_TYPE(head) != head_type) {
        PyErr_Format(PyExc_TypeError, "a Head is needed, not %.100s", Py_TYPE(head)->tp_name);
        return nullptr;
    }
    return &as_head(head)->envelope;
}

int init_entry_head(PyObject* module) {
    head_type = make_heap_type(module, spec);
    if (head_type == nullptr || PyModule_AddType(module, head_type) != 0) return -1;
    if (add_outcome(module, "Unencodable", "A value has no stored form; `reason` says why.",
                    "reason", "type", unencodable) != 0) {
        return -1;
    }
    return add_outcome(module, "Unreadable", "A stored entry cannot be read; `kind` says why.",
                       "kind", "damaged", unreadable);
}

}  // namespace millpond::bindings

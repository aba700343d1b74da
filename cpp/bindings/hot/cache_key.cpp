// What CacheBase makes of keys and tags.
#include <cstddef>
#include <span>
#include <string>

#include "hot/cache_object.hpp"
#include "hot/key_builder.hpp"
#include "hot/key_object.hpp"
#include "millpond/base/crc64.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

bool fingerprint_key(const Fingerprint& print, PyObject* leaves, PyObject* object, SpaceId space,
                     std::uint64_t salt, CacheKey& key) {
    if (leaves == nullptr && object == nullptr) {
        key.ref = fingerprint_ref(print, space, salt);
        key.owned = Ref();
        return true;
    }
    key.owned = Ref(make_key_object(print, leaves, object));
    const KeyKind kind = leaves == nullptr ? KeyKind::Held : KeyKind::Leaves;
    key.ref = {print.lo ^ salt, reinterpret_cast<std::uintptr_t>(key.owned.get()), space,
               static_cast<std::uint8_t>(kind)};
    return static_cast<bool>(key.owned);
}

bool key_of(PyObject* object, SpaceId space, std::uint64_t salt, bool keep, bool typed,
            CacheKey& key) {
    if (PyUnicode_CheckExact(object)) {
        key.ref = text_key(object, space, salt);
        key.owned = Ref::share(object);
        return true;
    }
    std::int64_t number = 0;
    if (PyLong_CheckExact(object) && small_int(object, number)) {
        key.ref = int_key(number, space, salt);
        return true;
    }
    if (!typed && PyBool_Check(object)) {
        key.ref = int_key(object == Py_True ? 1 : 0, space, salt);
        return true;
    }
    if (!typed && PyFloat_CheckExact(object)) {
        const double real = PyFloat_AS_DOUBLE(object);
        // Within these bounds every integral double is an int64.
        if (real >= -0x1p62 && real <= 0x1p62 &&
            static_cast<double>(static_cast<std::int64_t>(real)) == real) {
            key.ref = int_key(static_cast<std::int64_t>(real), space, salt);
            return true;
        }
    }
    KeyBuilder builder(KeyOptions{.typed = typed});
    if (!builder.add(object, nullptr, keep ? KeySource::Key : KeySource::Function)) {
        return false;
    }
    return fingerprint_key(builder.finish(), builder.leaves(), keep ? object : nullptr, space, salt,
                           key);
}

PyObject* key_object(KeyKind kind, cache::Hash hash, cache::Word word) {
    switch (kind) {
        case KeyKind::Int: return PyLong_FromLongLong(static_cast<long long>(word));
        case KeyKind::Str: return Py_NewRef(reinterpret_cast<PyObject*>(word));
        case KeyKind::Fingerprint: {
            const std::uint64_t halves[2] = {word, hash};
            return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(halves), sizeof halves);
        }
        case KeyKind::Held:
        case KeyKind::Leaves: break;
    }
    const KeyObject* const key = reinterpret_cast<KeyObject*>(word);
    return key->object != nullptr ? Py_NewRef(key->object) : fingerprint_bytes(key->print);
}

void own_key(CacheKey& key) noexcept {
    if (owns_object(key.ref.kind)) {
        Py_INCREF(reinterpret_cast<PyObject*>(key.ref.word));
    }
}

// ---- Tags

cache::TagHash tag_hash(PyObject* text) noexcept {
    Crc64 crc;
    Py_ssize_t length = 0;
    const char* bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (bytes == nullptr) {  // Lone surrogates: their code units will do.
        PyErr_Clear();
        bytes = static_cast<const char*>(PyUnicode_DATA(text));
        length = PyUnicode_GET_LENGTH(text) * PyUnicode_KIND(text);
    }
    crc.update(std::as_bytes(std::span(bytes, static_cast<std::size_t>(length))));
    return mix64(crc.value());
}

bool tag_hashes(PyObject* tags, std::vector<cache::TagHash>& hashes) {
    if (PyUnicode_Check(tags)) {
        hashes.push_back(tag_hash(tags));
        return true;
    }
    const Ref sequence(PySequence_Tuple(tags));
    if (!sequence) {
        if (PyErr_ExceptionMatches(PyExc_TypeError) != 0 && Py_TYPE(tags)->tp_iter == nullptr) {
            PyErr_Clear();
            raise_error(
                PythonError::OptionType,
                std::string("tags: a str or an iterable of str, not ") + Py_TYPE(tags)->tp_name);
        }
        return false;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(sequence.get()); ++i) {
        PyObject* const tag = PyTuple_GET_ITEM(sequence.get(), i);
        if (!PyUnicode_Check(tag)) {
            raise_error(PythonError::OptionType,
                        std::string("tags: each tag is a str, not ") + Py_TYPE(tag)->tp_name);
            return false;
        }
        hashes.push_back(tag_hash(tag));
    }
    return true;
}

}  // namespace millpond::bindings

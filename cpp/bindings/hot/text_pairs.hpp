// The pairs of a small dict whose keys are all short ASCII texts, which is what JSON brings. The
// encodings of such keys compare as their lengths and then their bytes do, so nothing has to be
// encoded, hashed or allocated to put the pairs in order.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstring>

#include "hot/dict_entries.hpp"

namespace millpond::bindings {

// A dict of more pairs is not put in order this way: inserting is quadratic.
inline constexpr Py_ssize_t kFewPairs = 24;

struct TextPair {
    PyObject* key;
    PyObject* mapped;
    Py_ssize_t length;  // of the key

    [[nodiscard]] const char* text() const noexcept {
        return reinterpret_cast<const char*>(reinterpret_cast<const PyASCIIObject*>(key) + 1);
    }
    friend bool operator<(const TextPair& a, const TextPair& b) noexcept {
        if (a.length != b.length) return a.length < b.length;
        return std::memcmp(a.text(), b.text(), static_cast<std::size_t>(a.length)) < 0;
    }
};

// Lives on the stack while its dict is walked, in a list with those of the dicts around it. The
// pairs are borrowed until hold_all(), which must come before anything that may change the dict.
class TextPairs {
  public:
    explicit TextPairs(TextPairs*& newest) noexcept : newest_(newest), outer_(newest) {
        newest_ = this;
    }
    ~TextPairs() {
        newest_ = outer_;
        if (held_) release();
    }
    TextPairs(const TextPairs&) = delete;
    TextPairs& operator=(const TextPairs&) = delete;

    // Puts the pairs in order. False: it is not such a dict. REQUIRES: at most kFewPairs pairs.
    [[nodiscard]] __attribute__((always_inline)) bool take(PyObject* dict) noexcept {
        TextPair* end = pairs_;
        if (const DictEntries entries = text_entries(dict); entries.begin != nullptr) {
            for (const DictEntry* entry = entries.begin; entry != entries.end; ++entry) {
                if (entry->mapped == nullptr) continue;
                if (!add(end, entry->key, entry->mapped)) return false;
                ++end;
            }
        } else {
            PyObject *key = nullptr, *mapped = nullptr;
            Py_ssize_t at = 0;
            for (TextPair* const full = pairs_ + PyDict_GET_SIZE(dict); end != full; ++end) {
                if (PyDict_Next(dict, &at, &key, &mapped) == 0) return false;
                if (!PyUnicode_CheckExact(key) || !add(end, key, mapped)) return false;
            }
        }
        end_ = end;
        return true;
    }

    // Takes references to the pairs of this dict and of those around it.
    static void hold_all(TextPairs* newest) noexcept {
        for (; newest != nullptr && !newest->held_; newest = newest->outer_) {
            for (const TextPair& each : *newest) {
                Py_INCREF(each.key);
                Py_INCREF(each.mapped);
            }
            newest->held_ = true;
        }
    }

    [[nodiscard]] const TextPair* begin() const noexcept { return pairs_; }
    [[nodiscard]] const TextPair* end() const noexcept { return end_; }

  private:
    static constexpr Py_ssize_t kOneByteCount = 0x80;

    // Puts a pair among those before `end`. REQUIRES: the key is a str.
    [[nodiscard]] __attribute__((always_inline)) bool add(TextPair* end, PyObject* key,
                                                          PyObject* mapped) noexcept {
        if (!PyUnicode_IS_COMPACT_ASCII(key)) return false;
        const Py_ssize_t length = reinterpret_cast<PyASCIIObject*>(key)->length;
        if (length >= kOneByteCount) return false;
        __builtin_prefetch(mapped);
        *end = TextPair{key, mapped, length};
        if (end != pairs_ && length <= end[-1].length) sink(end);
        return true;
    }

    // Moves the last pair down to its place.
    void sink(TextPair* last) noexcept {
        const TextPair added = *last;
        for (; last != pairs_ && added < last[-1]; --last) *last = last[-1];
        *last = added;
    }

    void release() noexcept {
        for (const TextPair& each : *this) {
            Py_DECREF(each.key);
            Py_DECREF(each.mapped);
        }
    }

    TextPairs*& newest_;
    TextPairs* outer_;
    TextPair* end_ = pairs_;
    bool held_ = false;
    TextPair pairs_[static_cast<std::size_t>(kFewPairs)];
};

}  // namespace millpond::bindings

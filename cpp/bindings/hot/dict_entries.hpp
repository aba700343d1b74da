// The pairs of a dict whose keys are all str, read where CPython keeps them. PyDict_Next is the
// public way and asks anew for each pair what kind of table it is; here one question serves all.
//
// The layout is CPython's own and not promised. It is the same in 3.11, 3.12 and 3.13, and
// learn_dict_layout() tries it out on a few dicts when the module is imported; where it does not
// hold, text_entries() knows no dict and PyDict_Next does the work.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

namespace millpond::bindings {

struct DictEntry {
    PyObject* key;
    PyObject* mapped;  // null where a pair was removed
};

struct DictEntries {
    const DictEntry* begin = nullptr;
    const DictEntry* end = nullptr;
};

// Whether the layout below is that of the running CPython.
inline bool dict_layout_is_known = false;

// Finds that out. -1 with an exception set. REQUIRES: the GIL.
[[nodiscard]] int learn_dict_layout();

namespace dict_layout {

struct Keys {
    Py_ssize_t references;
    std::uint8_t log2_size;
    std::uint8_t log2_index_bytes;
    std::uint8_t kind;
    std::uint32_t version;
    Py_ssize_t usable;
    Py_ssize_t entries;
    // The index table follows, and then the entries.
};
inline constexpr std::uint8_t kOnlyText = 1;

inline DictEntries read(PyObject* dict) noexcept {
    const auto* const object = reinterpret_cast<const PyDictObject*>(dict);
    const auto* const keys = reinterpret_cast<const Keys*>(object->ma_keys);
    if (object->ma_values != nullptr || keys->kind != kOnlyText) return {};
    const auto* const index = reinterpret_cast<const char*>(keys + 1);
    const auto* const first =
        reinterpret_cast<const DictEntry*>(index + (std::size_t{1} << keys->log2_index_bytes));
    return {first, first + keys->entries};
}

}  // namespace dict_layout

// The pairs of an exact dict in their order, with gaps; nothing if it has to be walked in the
// public way. Valid until the dict changes. REQUIRES: the GIL.
[[nodiscard]] inline DictEntries text_entries(PyObject* dict) noexcept {
    return dict_layout_is_known ? dict_layout::read(dict) : DictEntries{};
}

}  // namespace millpond::bindings

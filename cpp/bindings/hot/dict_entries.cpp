#include "hot/dict_entries.hpp"

#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

// Fills a dict with `added` texts and removes every third of them. False with an exception set.
bool fill(PyObject* dict, int added) {
    for (int i = 0; i < added; ++i) {
        const Ref key(PyUnicode_FromFormat("key %d", i));
        const Ref value(PyLong_FromLong(i));
        if (!key || !value || PyDict_SetItem(dict, key.get(), value.get()) != 0) return false;
    }
    for (int i = 0; i < added; i += 3) {
        const Ref key(PyUnicode_FromFormat("key %d", i));
        if (!key || PyDict_DelItem(dict, key.get()) != 0) return false;
    }
    return true;
}

// Whether a reading of the dict finds what PyDict_Next does.
bool reads_well(PyObject* dict) {
    const DictEntries entries = dict_layout::read(dict);
    if (entries.begin == nullptr) return false;
    PyObject *key = nullptr, *mapped = nullptr;
    Py_ssize_t at = 0;
    for (const DictEntry* entry = entries.begin; entry != entries.end; ++entry) {
        if (entry->mapped == nullptr) continue;
        if (PyDict_Next(dict, &at, &key, &mapped) == 0) return false;
        if (entry->key != key || entry->mapped != mapped) return false;
    }
    return PyDict_Next(dict, &at, &key, &mapped) == 0;
}

}  // namespace

int learn_dict_layout() {
    // Index tables of one byte and of two an entry.
    for (const int added : {1, 5, 7, 400}) {
        const Ref dict(PyDict_New());
        if (!dict || !fill(dict.get(), added)) return -1;
        if (!reads_well(dict.get())) return 0;
    }
    // A key of another type makes it another kind of table.
    const Ref dict(PyDict_New());
    const Ref number(PyLong_FromLong(1));
    if (!dict || !number || PyDict_SetItem(dict.get(), number.get(), number.get()) != 0) return -1;
    dict_layout_is_known = dict_layout::read(dict.get()).begin == nullptr;
    return 0;
}

}  // namespace millpond::bindings

// Part of Walker: dicts and sets. A fingerprint adds up the hashes of pairs and members; a shared
// key sorts them by their encoded keys.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>

#include "hot/canonical_builtins.hpp"
#include "hot/canonical_walker.hpp"
#include "hot/fingerprint_sink.hpp"

namespace millpond::bindings {

template <typename Sink>
bool Walker<Sink>::changed() {
    return failure_.set("it changed while it was being walked");
}

template <typename Sink>
inline bool Walker<Sink>::dict(PyObject* object, bool ordered) {
    const Level level(*this, object);
    if (!level) return false;
    if (ordered) return dict_in_order(object);
    if (PyDict_GET_SIZE(object) <= kFewPairs) {
        TextPairs few(newest_pairs_);
        if (few.take(object)) return dict_of_few(object, few);
    }
    if constexpr (Sink::kInProcess) {
        return dict_summed(object);
    } else {
        return dict_encoded(object);
    }
}

template <typename Sink>
inline bool Walker<Sink>::dict_of_few(PyObject* object, const TextPairs& few) {
    const Py_ssize_t size = PyDict_GET_SIZE(object);
    sink_.open(Tag::Dict, static_cast<std::size_t>(size));
    for (const TextPair& each : few) {
        sink_.text(each.key);
        if (PyUnicode_CheckExact(each.mapped) && PyUnicode_IS_COMPACT_ASCII(each.mapped)) {
            sink_.text(each.mapped);
        } else if (!value(each.mapped)) {
            failure_.at_key(each.key);
            return false;
        }
    }
    return PyDict_GET_SIZE(object) == size || changed();
}

// Whether `object` is a plain leaf, which neither fails nor runs anything while it is walked.
inline bool runs_nothing(PyObject* object) noexcept {
    return PyUnicode_CheckExact(object) || PyLong_CheckExact(object) || PyFloat_CheckExact(object);
}

// The key and the value of one pair.
template <typename Sink>
inline bool Walker<Sink>::pair(PyObject* key, PyObject* mapped) {
    if (PyUnicode_CheckExact(key) && runs_nothing(mapped)) {
        return this->value(key) && this->value(mapped);
    }
    // What runs below may take the pair out of the dict.
    const Ref kept_key = Ref::share(key);
    const Ref kept_value = Ref::share(mapped);
    if (this->value(key) && this->value(mapped)) return true;
    failure_.at_key(key);
    return false;
}

template <typename Sink>
bool Walker<Sink>::dict_in_order(PyObject* object) {
    const Py_ssize_t size = PyDict_GET_SIZE(object);
    sink_.open(Tag::Dict, static_cast<std::size_t>(size));
    PyObject *key = nullptr, *mapped = nullptr;
    Py_ssize_t seen = 0;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &mapped) != 0; ++seen) {
        if (!pair(key, mapped)) return false;
        if (PyDict_GET_SIZE(object) != size) return changed();
    }
    return seen == size || changed();
}

template <typename Sink>
bool Walker<Sink>::dict_summed(PyObject* object) {
    if constexpr (Sink::kInProcess) {
        const Py_ssize_t size = PyDict_GET_SIZE(object);
        const std::size_t first_leaf = leaves_.size();
        std::vector<LeafRun> runs;
        MessageSum sum(sink_.hasher());
        PyObject *key = nullptr, *mapped = nullptr;
        Py_ssize_t seen = 0;
        for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &mapped) != 0; ++seen) {
            const std::size_t begin = leaves_.size();
            typename Sink::Outer outer;
            sink_.begin(outer);
            if (!pair(key, mapped)) {
                sink_.abandon(outer);
                return false;
            }
            sink_.end(outer, sum);
            if (leaves_.size() != begin) runs.push_back({sum.last(), begin, leaves_.size()});
            if (PyDict_GET_SIZE(object) != size) return changed();
        }
        if (seen != size) return changed();
        if (leaves_.size() != first_leaf) sort_leaves(leaves_, runs);
        sink_.summed(Tag::Dict, static_cast<std::size_t>(size), sum.total());
        return true;
    } else {
        return dict_in_order(object);
    }
}

// Encodes one value into `out` instead of the stream.
template <typename Sink>
bool Walker<Sink>::encode_aside(PyObject* object, std::string& out) {
    if constexpr (Sink::kInProcess) {
        return false;
    } else {
        std::string* const before = sink_.redirect(&out);
        if (!value(object)) {
            sink_.abandon(before);
            return false;
        }
        sink_.resume(before);
        return true;
    }
}

template <typename Sink>
bool Walker<Sink>::dict_encoded(PyObject* object) {
    if constexpr (Sink::kInProcess) {
        return dict_summed(object);
    } else {
        struct Pair {
            std::string code;
            Ref key;
            Ref mapped;
        };
        const Py_ssize_t size = PyDict_GET_SIZE(object);
        std::vector<Pair> pairs;
        pairs.reserve(static_cast<std::size_t>(size));
        PyObject *key = nullptr, *mapped = nullptr;
        for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &mapped) != 0;) {
            pairs.push_back({std::string(), Ref::share(key), Ref::share(mapped)});
        }
        for (Pair& each : pairs) {
            if (!encode_aside(each.key.get(), each.code)) {
                failure_.at_key(each.key.get());
                return false;
            }
        }
        const auto by_code = [](const Pair& a, const Pair& b) { return a.code < b.code; };
        std::ranges::sort(pairs, by_code);
        // Only keys that hold a NaN can be two keys with one encoding; then the values decide.
        const auto same = [](const Pair& a, const Pair& b) { return a.code == b.code; };
        if (std::adjacent_find(pairs.begin(), pairs.end(), same) != pairs.end()) {
            for (Pair& each : pairs) {
                if (!encode_aside(each.mapped.get(), each.code)) {
                    failure_.at_key(each.key.get());
                    return false;
                }
                each.mapped = Ref();
            }
            std::ranges::sort(pairs, by_code);
        }
        sink_.open(Tag::Dict, static_cast<std::size_t>(size));
        for (const Pair& each : pairs) {
            sink_.raw(each.code.data(), each.code.size());
            if (each.mapped && !value(each.mapped.get())) {
                failure_.at_key(each.key.get());
                return false;
            }
        }
        return PyDict_GET_SIZE(object) == size || changed();
    }
}

// The order counts for an OrderedDict's own ==, and it is not the order of the dict below it.
template <typename Sink>
bool Walker<Sink>::ordered_dict(PyObject* object) {
    const Level level(*this, object);
    if (!level) return false;
    hold();
    const Py_ssize_t size = PyDict_GET_SIZE(object);
    const Ref iterator(PyODict_Type.tp_iter(object));
    if (!iterator) return false;
    sink_.open(Tag::OrderedDict, static_cast<std::size_t>(size));
    Ref key;
    Py_ssize_t seen = 0;
    for (; next_member(iterator.get(), key); ++seen) {
        const Ref mapped = Ref::share(PyDict_GetItemWithError(object, key.get()));
        if (!mapped) return PyErr_Occurred() != nullptr ? false : changed();
        if (!pair(key.get(), mapped.get())) return false;
    }
    if (PyErr_Occurred() != nullptr) return false;
    return seen == size || changed();
}

// The next of a builtin iterator. False: at the end, or an exception is set.
template <typename Sink>
bool Walker<Sink>::next_member(PyObject* iterator, Ref& member) {
    member = Ref(PyIter_Next(iterator));
    if (member) return true;
    if (PyErr_Occurred() != nullptr && PyErr_ExceptionMatches(PyExc_RuntimeError) != 0) {
        // "changed size during iteration"; whoever loops sees that the end came too early.
        PyErr_Clear();
    }
    return false;
}

template <typename Sink>
bool Walker<Sink>::set(PyObject* object, Tag tag) {
    const Level level(*this, object);
    if (!level) return false;
    hold();  // 3.11 may collect garbage, and so run finalizers, when the iterator is made
    if constexpr (Sink::kInProcess) {
        return set_summed(object, tag);
    } else {
        return set_sorted(object, tag);
    }
}

template <typename Sink>
bool Walker<Sink>::set_summed(PyObject* object, Tag tag) {
    if constexpr (Sink::kInProcess) {
        const Py_ssize_t size = PySet_GET_SIZE(object);
        const std::size_t first_leaf = leaves_.size();
        std::vector<LeafRun> runs;
        MessageSum sum(sink_.hasher());
        Ref opaque_members;  // compared as a set, by the user's own ==
        const Ref iterator((tag == Tag::Set ? PySet_Type : PyFrozenSet_Type).tp_iter(object));
        if (!iterator) return false;
        Ref member;
        Py_ssize_t seen = 0;
        for (; next_member(iterator.get(), member); ++seen) {
            const std::size_t begin = leaves_.size();
            typename Sink::Outer outer;
            sink_.begin(outer);
            if (!value(member.get())) {
                sink_.abandon(outer);
                failure_.at_member();
                return false;
            }
            sink_.end(outer, sum);
            if (leaves_.size() == begin + 1 && leaves_.back().get() == member.get()) {
                leaves_.pop_back();
                hold();
                if (!opaque_members) opaque_members = Ref(PySet_New(nullptr));
                if (!opaque_members || PySet_Add(opaque_members.get(), member.get()) != 0) {
                    return false;
                }
            } else if (leaves_.size() != begin) {
                runs.push_back({sum.last(), begin, leaves_.size()});
            }
        }
        if (PyErr_Occurred() != nullptr) return false;
        if (seen != size || PySet_GET_SIZE(object) != size) return changed();
        if (leaves_.size() != first_leaf) sort_leaves(leaves_, runs);
        if (opaque_members) {
            Ref frozen(PyFrozenSet_New(opaque_members.get()));
            if (!frozen) return false;
            leaves_.push_back(std::move(frozen));
        }
        sink_.summed(tag, static_cast<std::size_t>(size), sum.total());
        return true;
    } else {
        return set_sorted(object, tag);
    }
}

template <typename Sink>
bool Walker<Sink>::set_sorted(PyObject* object, Tag tag) {
    if constexpr (Sink::kInProcess) {
        return set_summed(object, tag);
    } else {
        const Py_ssize_t size = PySet_GET_SIZE(object);
        const Ref iterator((tag == Tag::Set ? PySet_Type : PyFrozenSet_Type).tp_iter(object));
        if (!iterator) return false;
        std::vector<std::string> codes;
        codes.reserve(static_cast<std::size_t>(size));
        for (Ref member; next_member(iterator.get(), member);) {
            codes.emplace_back();
            if (!encode_aside(member.get(), codes.back())) {
                failure_.at_member();
                return false;
            }
        }
        if (PyErr_Occurred() != nullptr) return false;
        if (static_cast<Py_ssize_t>(codes.size()) != size) return changed();
        std::ranges::sort(codes);
        sink_.open(tag, codes.size());
        for (const std::string& code : codes) sink_.raw(code.data(), code.size());
        return true;
    }
}

}  // namespace millpond::bindings

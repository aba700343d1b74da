// Walks a tree of Python objects into its canonical form. One walk serves both keys; the sink says
// which: FingerprintSink (this process) or DigestSink (shared). docs/design/keys.md has the forms.
//
// Safety. Values of exact builtin types run no code of the user's, so they are walked on borrowed
// references. Before anything else runs (a __hash__, an attribute), hold() takes references to all
// containers on the way down, and whoever still needs a child afterwards holds it too.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hot/canonical_failure.hpp"
#include "hot/canonical_tags.hpp"
#include "hot/canonical_text.hpp"
#include "hot/canonical_types.hpp"
#include "hot/heap_type.hpp"
#include "hot/interned.hpp"
#include "hot/text_pairs.hpp"
#include "millpond/base/hash.hpp"

namespace millpond::bindings {

struct KeyOptions {
    bool typed = true;     // false: 1, 1.0 and True are one value
    bool ordered = false;  // true: the order of a dict counts
};

// A value may nest this deep; a container within itself never ends and is refused by it.
inline constexpr std::size_t kMaxDepth = 100;

// So many containers are walked at most: one list shared on a hundred levels would be 2^100.
inline constexpr std::size_t kMaxContainers = 10'000'000;

// The opaque leaves [begin, end) that one pair or member of an unordered container brought along,
// and the fingerprint that gives them their place.
struct LeafRun {
    Fingerprint print;
    std::size_t begin;
    std::size_t end;
};

// Brings leaves[first...] into the order of their runs' fingerprints.
void sort_leaves(std::vector<Ref>& leaves, std::vector<LeafRun>& runs);

template <typename Sink>
class Walker {
  public:
    // `arguments` make the sink.
    template <typename... Arguments>
    explicit Walker(const KeyOptions& options, Arguments&... arguments) noexcept
        : sink_(arguments...), options_(options) {}
    ~Walker() {
        while (held_ > 0) Py_DECREF(levels_[--held_]);
    }
    Walker(const Walker&) = delete;
    Walker& operator=(const Walker&) = delete;

    // Walks one value. False: failure() knows why, or a Python exception is set. The caller keeps
    // `object` alive. May throw std::bad_alloc.
    [[nodiscard]] bool value(PyObject* object);

    [[nodiscard]] Sink& sink() noexcept { return sink_; }
    [[nodiscard]] Failure& failure() noexcept { return failure_; }
    [[nodiscard]] std::vector<Ref>& leaves() noexcept { return leaves_; }

  private:
    // A container on the way down.
    class Level {
      public:
        Level(Walker& walker, PyObject* object) : walker_(walker), entered_(walker.enter(object)) {}
        ~Level() {
            if (entered_) walker_.leave();
        }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;
        [[nodiscard]] explicit operator bool() const noexcept { return entered_; }

      private:
        Walker& walker_;
        bool entered_;
    };

    bool enter(PyObject* object) {
        if (depth_ == kMaxDepth || ++containers_ > kMaxContainers) [[unlikely]]
            return refuse_depth(object);
        levels_[depth_++] = object;
        return true;
    }
    void leave() {
        PyObject* const object = levels_[--depth_];
        if (held_ > depth_) {
            held_ = depth_;
            Py_DECREF(object);
        }
    }
    // Must come before anything that may run the user's code.
    void hold() noexcept {
        for (; held_ < depth_; ++held_) Py_INCREF(levels_[held_]);
        TextPairs::hold_all(newest_pairs_);
    }
    bool refuse_depth(PyObject* object);

    // canonical_builtins.hpp
    [[nodiscard]] bool integer(PyObject* object);
    void floating(double value);
    [[nodiscard]] bool number(double value);
    [[nodiscard]] bool big_integer(PyObject* object);
    [[nodiscard]] bool list(PyObject* object);
    [[nodiscard]] bool tuple(PyObject* object);
    [[nodiscard]] bool rare_builtin(PyObject* object);
    [[nodiscard]] bool builtin_content(PyObject* object, Kind kind);
    [[nodiscard]] bool range(PyObject* object);
    [[nodiscard]] bool slice(PyObject* object);
    [[nodiscard]] bool type(PyTypeObject* object);
    [[nodiscard]] bool memory_view(PyObject* object);
    [[nodiscard]] bool buffer(PyObject* object);

    // canonical_unordered.hpp
    [[nodiscard]] bool dict(PyObject* object, bool ordered);
    [[nodiscard]] bool dict_in_order(PyObject* object);
    [[nodiscard]] bool dict_summed(PyObject* object);
    [[nodiscard]] bool dict_of_few(PyObject* object, const TextPairs& few);
    [[nodiscard]] bool dict_encoded(PyObject* object);
    [[nodiscard]] bool pair(PyObject* key, PyObject* value);
    [[nodiscard]] bool ordered_dict(PyObject* object);
    [[nodiscard]] bool set(PyObject* object, Tag tag);
    [[nodiscard]] bool set_summed(PyObject* object, Tag tag);
    [[nodiscard]] bool set_sorted(PyObject* object, Tag tag);
    [[nodiscard]] bool next_member(PyObject* iterator, Ref& member);
    [[nodiscard]] bool encode_aside(PyObject* object, std::string& out);
    [[nodiscard]] bool changed();

    // canonical_classes.hpp
    [[nodiscard]] bool other(PyObject* object);
    [[nodiscard]] bool opaque(PyObject* object);
    [[nodiscard]] bool described(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool content(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool subclass(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool enumeration(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool dataclass(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool named_tuple(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool pydantic(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool field(PyObject* object, PyObject* name);
    template <Literal attribute_name>
    [[nodiscard]] bool attribute(PyObject* object);
    void name(const TypeInfo& info, PyObject* object);

    // canonical_library.hpp
    [[nodiscard]] bool library_content(PyObject* object, Kind kind);
    [[nodiscard]] bool date_time(PyObject* object, Kind kind);
    [[nodiscard]] bool zone_info(PyObject* object);
    [[nodiscard]] bool path(PyObject* object);
    [[nodiscard]] bool decimal(PyObject* object);
    [[nodiscard]] bool array(PyObject* object);
    [[nodiscard]] bool deque(PyObject* object);
    [[nodiscard]] bool ndarray(PyObject* object);
    [[nodiscard]] bool numpy_scalar(PyObject* object);
    [[nodiscard]] bool numpy_type(PyObject* object, bool& has_objects);
    [[nodiscard]] bool bytes_of(PyObject* object);
    [[nodiscard]] bool elements(const Ref& items);

    Sink sink_;
    KeyOptions options_;
    std::size_t depth_ = 0;
    std::size_t held_ = 0;  // levels_[0, held_) own a reference
    std::size_t containers_ = 0;
    TextPairs* newest_pairs_ = nullptr;
    std::vector<Ref> leaves_;
    Failure failure_;
    PyObject* levels_[kMaxDepth];
};

template <typename Sink>
inline bool Walker<Sink>::value(PyObject* object) {
    PyTypeObject* const type = Py_TYPE(object);
    if (type == &PyUnicode_Type) {
        if (!ready_text(object)) return false;
        sink_.text(object);
        return true;
    }
    if (type == &PyDict_Type) return dict(object, options_.ordered);
    if (type == &PyLong_Type) return integer(object);
    if (type == &PyFloat_Type) return number(PyFloat_AS_DOUBLE(object));
    if (type == &PyList_Type) return list(object);
    if (object == Py_None) {
        sink_.unit(Tag::None);
        return true;
    }
    if (type == &PyBool_Type) {
        if (!options_.typed) {
            sink_.integer(object == Py_True ? 1 : 0);
        } else {
            sink_.unit(object == Py_True ? Tag::True : Tag::False);
        }
        return true;
    }
    if (type == &PyTuple_Type) return tuple(object);
    return rare_builtin(object);
}

}  // namespace millpond::bindings

#include "weigher.hpp"

#include <array>
#include <cstddef>
#include <exception>
#include <memory_resource>
#include <string>
#include <vector>

#include "../translate_error.hpp"
#include "value_type.hpp"
#include "visited_set.hpp"

namespace millpond::bindings {
namespace {

// The head of numpy's PyArrayObject and PyArray_Descr: the same from numpy 1.7 through 2.x, whose
// own headers are not needed for these few fields.
struct ArrayHead {
    PyObject_HEAD char* data;
    int dimensions;
    Py_ssize_t* shape;
    Py_ssize_t* strides;
    PyObject* base;
    PyObject* descriptor;
    int flags;
};
struct ArrayDescriptorHead {
    PyObject_HEAD PyTypeObject* scalar_type;
    char kind;
};
constexpr int kArrayContiguous = 0x1 | 0x2;  // C or Fortran order: the elements follow each other

// From 3.13 on an instance and its __dict__ both show the collector the same attribute values, for
// which there is one reference: a count of 1 no longer means that there is one way to the object.
constexpr bool kAttributesShownTwice = PY_VERSION_HEX >= 0x030D0000;

[[nodiscard]] std::size_t int_bytes(PyObject* value) noexcept {
    auto* number = reinterpret_cast<PyLongObject*>(value);
#if PY_VERSION_HEX >= 0x030C0000
    const std::size_t digits = number->long_value.lv_tag >> _PyLong_NON_SIZE_BITS;
    const digit first = number->long_value.ob_digit[0];
    const bool negative = (number->long_value.lv_tag & 3) == 2;
    constexpr std::size_t kHead = offsetof(PyLongObject, long_value.ob_digit);
#else
    const Py_ssize_t size = Py_SIZE(value);
    const auto digits = static_cast<std::size_t>(size < 0 ? -size : size);
    const digit first = number->ob_digit[0];
    const bool negative = size < 0;
    constexpr std::size_t kHead = offsetof(PyLongObject, ob_digit);
#endif
    // CPython keeps one copy of the integers -5 to 256.
    if (digits == 0 || (digits == 1 && first <= (negative ? 5U : 256U))) {
        return 0;
    }
    return kHead + digits * sizeof(digit);
}

// Sets the size of the commonest leaves; false for anything else.
[[nodiscard]] bool leaf_bytes(PyObject* value, std::size_t* bytes) noexcept {
    const PyTypeObject* type = Py_TYPE(value);
    if (type == &PyUnicode_Type && PyUnicode_IS_COMPACT_ASCII(value)) {
        *bytes = sizeof(PyASCIIObject) + static_cast<std::size_t>(PyUnicode_GET_LENGTH(value)) + 1;
    } else if (type == &PyLong_Type) {
        *bytes = int_bytes(value);
    } else if (type == &PyFloat_Type) {
        *bytes = sizeof(PyFloatObject);
    } else if (value == Py_None || type == &PyBool_Type) {
        *bytes = 0;
    } else if (type == &PyBytes_Type) {
        *bytes = offsetof(PyBytesObject, ob_sval) + 1 +
                 static_cast<std::size_t>(PyBytes_GET_SIZE(value));
    } else {
        return false;
    }
    return true;
}

[[nodiscard]] bool may_be_shared(PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    (void)object;
    return true;
#else
    // Whoever holds the only reference is the only way to the object: no need to remember it.
    return Py_REFCNT(object) > 1;
#endif
}

// One container whose parts are being visited.
struct Frame {
    PyObject* const* items = nullptr;  // a list's or tuple's parts
    PyObject* dict = nullptr;          // or a dict, iterated in place
    std::size_t collected = 0;         // or the parts from here on in the walk's `collected_`
    Py_ssize_t position = 0;           // of PyDict_Next
    PyObject* value = nullptr;         // of a dict: the value whose key was just visited
    std::size_t total = 0;             // parts there are
    std::size_t visited = 0;           // parts taken so far
    std::uint64_t bytes_before = 0;    // the sum when the frame was opened
    std::uint64_t bytes_inside = 0;    // the sum after the container itself
    bool remember_parts = false;       // a part may be visited twice by one reference
};

class Walk {
  public:
    [[nodiscard]] std::uint64_t weigh(PyObject* value) {
        frames_.reserve(kStackFrames);
        add(value, true);
        while (!frames_.empty()) {
            Frame& frame = frames_.back();
            if (frame.visited == frame.total) {
                close(frame);
                continue;
            }
            if (++parts_ > kMaxWeighedParts) {
                return estimate();
            }
            const bool remember = frame.remember_parts;
            add(next(frame), remember);
        }
        return bytes_;
    }

  private:
    static constexpr std::size_t kStackBytes = 2048;
    static constexpr std::size_t kStackFrames = 8;

    void add(PyObject* part, bool remember) {
        // Null: a list that C code is still filling. A type: every instance shows its own.
        if (part == nullptr || PyType_Check(part) != 0) {
            return;
        }
        std::size_t own = 0;
        const bool leaf = leaf_bytes(part, &own);
        if (leaf && own == 0) {
            return;
        }
        if ((remember || may_be_shared(part)) && !seen_.insert(part)) {
            return;
        }
        if (leaf) {
            bytes_ += own;
            return;
        }
        Frame frame;
        frame.bytes_before = bytes_;
        frame.collected = collected_.size();
        if (!open_builtin(part, frame)) {
            open_any(part, frame);
        }
        if (frame.total != 0) {
            frame.bytes_inside = bytes_;
            frames_.push_back(frame);
        }
    }

    // Lists, tuples and dicts are visited in place, without a look at their types.
    [[nodiscard]] bool open_builtin(PyObject* part, Frame& frame) noexcept {
        const PyTypeObject* type = Py_TYPE(part);
        if (type == &PyList_Type) {
            auto* list = reinterpret_cast<PyListObject*>(part);
            frame.items = list->ob_item;
            frame.total = static_cast<std::size_t>(PyList_GET_SIZE(part));
            bytes_ += kCollectorHeaderBytes + sizeof(PyListObject) +
                      static_cast<std::size_t>(list->allocated) * sizeof(PyObject*);
        } else if (type == &PyTuple_Type) {
            frame.items = reinterpret_cast<PyTupleObject*>(part)->ob_item;
            frame.total = static_cast<std::size_t>(PyTuple_GET_SIZE(part));
            bytes_ += kCollectorHeaderBytes + offsetof(PyTupleObject, ob_item) +
                      frame.total * sizeof(PyObject*);
        } else if (type == &PyDict_Type) {
            static const ValueType info = value_type_of(part);
            frame.dict = part;
            frame.total = 2 * static_cast<std::size_t>(PyDict_GET_SIZE(part));
            frame.remember_parts = attributes_are_doubled();
            bytes_ += own_bytes(part, info);
        } else {
            return false;
        }
        return true;
    }

    void open_any(PyObject* part, Frame& frame) {
        const ValueType info = value_type_of(part);
        bytes_ += own_bytes(part, info);
        if (info.kind != PartKind::Free && info.kind != PartKind::Leaf) {
            collect(part, info, frame);
        }
    }

    // The values of a dict directly below an object whose parts are remembered: see
    // kAttributesShownTwice.
    [[nodiscard]] bool attributes_are_doubled() const noexcept {
        return !frames_.empty() && frames_.back().remember_parts;
    }

    void collect(PyObject* part, const ValueType& info, Frame& frame) {
        Collector collector{this, 0, false};
        if (PyType_HasFeature(info.type, Py_TPFLAGS_HAVE_GC) && info.type->tp_traverse != nullptr) {
            info.type->tp_traverse(part, &Walk::visit, &collector);
        }
        if (info.kind == PartKind::Mapping) {
            // A dict shows the collector its keys only if some are not strings.
            Py_ssize_t position = 0;
            PyObject* key = nullptr;
            while (PyDict_Next(part, &position, &key, nullptr) != 0) {
                visit(key, &collector);
            }
        } else if (info.kind == PartKind::Array) {
            collect_array(reinterpret_cast<ArrayHead*>(part), collector);
        }
        if (collector.out_of_memory) {
            throw std::bad_alloc();
        }
        frame.total = collector.count;
        frame.remember_parts = info.kind == PartKind::Mapping ||
                               (kAttributesShownTwice && info.keeps_attributes_inline);
        if (info.keeps_attributes_inline) {
            bytes_ += collector.count * sizeof(PyObject*);
        }
    }

    struct Collector {
        Walk* walk;
        std::size_t count;
        bool out_of_memory;
    };

    // Keeps no more parts than will be visited, but counts them all.
    static int visit(PyObject* part, void* argument) noexcept {
        auto* collector = static_cast<Collector*>(argument);
        if (part != nullptr && collector->count++ <= kMaxWeighedParts - collector->walk->parts_) {
            try {
                collector->walk->collected_.push_back(part);
            } catch (...) {
                collector->out_of_memory = true;
                return -1;
            }
        }
        return 0;
    }

    // numpy shows the collector nothing: a view's base and an object array's elements hang below.
    static void collect_array(const ArrayHead* array, Collector& collector) noexcept {
        if (array->base != nullptr) {
            visit(array->base, &collector);
            return;
        }
        const auto* descriptor = reinterpret_cast<ArrayDescriptorHead*>(array->descriptor);
        if (descriptor->kind != 'O' || (array->flags & kArrayContiguous) == 0) {
            return;
        }
        Py_ssize_t count = 1;
        for (int i = 0; i < array->dimensions; ++i) {
            count *= array->shape[i];
        }
        auto* const* elements = reinterpret_cast<PyObject* const*>(array->data);
        for (Py_ssize_t i = 0; i < count; ++i) {
            visit(elements[i], &collector);
        }
    }

    [[nodiscard]] PyObject* next(Frame& frame) noexcept {
        const std::size_t at = frame.visited++;
        if (frame.items != nullptr) {
            return frame.items[at];
        }
        if (frame.dict == nullptr) {
            return collected_[frame.collected + at];
        }
        if (at % 2 == 1) {
            return frame.value;
        }
        PyObject* key = Py_None;
        PyDict_Next(frame.dict, &frame.position, &key, &frame.value);
        return key;
    }

    void close(const Frame& frame) {
        collected_.resize(frame.collected);
        frames_.pop_back();
    }

    // The sum so far, and for each open container its average part for every part not visited.
    [[nodiscard]] std::uint64_t estimate() const noexcept {
        auto total = static_cast<double>(bytes_);
        const double any_part = total / static_cast<double>(parts_);
        for (std::size_t i = 0; i < frames_.size(); ++i) {
            const Frame& frame = frames_[i];
            const bool innermost = i + 1 == frames_.size();
            const std::uint64_t bytes_done = innermost ? bytes_ : frames_[i + 1].bytes_before;
            const std::size_t done = innermost ? frame.visited : frame.visited - 1;
            const double average = done == 0
                                       ? any_part
                                       : static_cast<double>(bytes_done - frame.bytes_inside) /
                                             static_cast<double>(done);
            total += average * static_cast<double>(frame.total - frame.visited);
        }
        return static_cast<std::uint64_t>(total);
    }

    std::uint64_t bytes_ = 0;
    std::size_t parts_ = 0;
    VisitedSet seen_;
    std::array<std::byte, kStackBytes> stack_;
    std::pmr::monotonic_buffer_resource arena_{stack_.data(), stack_.size()};
    std::pmr::vector<Frame> frames_{&arena_};
    std::pmr::vector<PyObject*> collected_{&arena_};
};

[[nodiscard]] bool is_plain(const PyTypeObject* type) noexcept {
    return type == &PyUnicode_Type || type == &PyDict_Type || type == &PyLong_Type ||
           type == &PyList_Type || type == &PyTuple_Type || type == &PyFloat_Type ||
           type == &PyBytes_Type || type == &PyBool_Type || type == &PySet_Type;
}

[[nodiscard]] const char* reason(Refusal refusal) noexcept {
    switch (refusal) {
        case Refusal::Coroutine:
            return "it can be awaited only once; cache the function that makes it, or its result";
        case Refusal::Awaitable:
            return "it belongs to one event loop and one moment; await it and cache the result";
        case Refusal::AsyncIterator:
            return "it can be consumed only once; collect it into a list or tuple and cache that";
        case Refusal::Iterator:
            return "it can be consumed only once; cache list(...) or tuple(...) of it";
        case Refusal::OpenFile: return "reading it moves its position; cache what was read from it";
        case Refusal::None: break;
    }
    return "";
}

[[nodiscard]] Refusal refusal_of(PyObject* value) noexcept {
    const PyTypeObject* type = Py_TYPE(value);
    return is_plain(type) || value == Py_None ? Refusal::None : value_type_of(value).refusal;
}

}  // namespace

bool weigh(PyObject* value, std::uint64_t* bytes) noexcept {
    std::size_t own = 0;
    if (leaf_bytes(value, &own)) {
        *bytes = own;
        return true;
    }
    try {
        Walk walk;  // not Walk(): that would clear its stack buffers first
        *bytes = walk.weigh(value);
        return true;
    } catch (...) {
        raise_current_exception();
        return false;
    }
}

bool is_cacheable(PyObject* value) noexcept { return refusal_of(value) == Refusal::None; }

bool check_cacheable(PyObject* value) noexcept {
    const Refusal refusal = refusal_of(value);
    if (refusal == Refusal::None) {
        return true;
    }
    try {
        raise_error(PythonError::ValueRefused, std::string("a value of type ") +
                                                   Py_TYPE(value)->tp_name +
                                                   " cannot be cached: " + reason(refusal));
    } catch (...) {
        raise_current_exception();
    }
    return false;
}

}  // namespace millpond::bindings

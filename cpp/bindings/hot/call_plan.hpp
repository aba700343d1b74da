// CallPlan: how the arguments of a function become one row of values, so that f(5), f(x=5) and a
// default of 5 share an entry. Made once, when a function is decorated.
#pragma once

#include <Python.h>

#include <memory>
#include <span>
#include <vector>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

// The arguments of one call, as vectorcall passes them.
struct Call {
    PyObject* const* args;
    std::size_t nargsf;
    PyObject* kwnames;    // or null
    Ref* made = nullptr;  // keeps what key= returned for this call, so that it is asked once

    [[nodiscard]] Py_ssize_t positional() const noexcept {
        return static_cast<Py_ssize_t>(nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET);
    }
    [[nodiscard]] Py_ssize_t named() const noexcept {
        return kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
    }
};

// The name, a str, and the value of an argument; borrowed.
struct NamedArgument {
    PyObject* name;
    PyObject* value;
};

// One part of a tag template: a piece of text, or the argument at a place.
struct TagPart {
    PyObject* text;  // owned by the plan's tuple; null: an argument
    std::uint32_t place;
};

struct CallPlan {
    Ref names;                       // the parameters, a tuple of interned str
    Ref defaults;                    // as long; kMissing where there is none
    Py_ssize_t positional_only = 0;  // the first so many cannot be given by name
    Py_ssize_t positional = 0;       // the first so many can be given by position
    bool var_positional = false;     // *args
    bool var_named = false;          // **kwargs
    bool plain = false;              // all parameters positional, none ignored
    std::vector<bool> ignored;       // parameters that are no part of the key
    std::vector<std::vector<TagPart>> tags;
    std::vector<Ref> texts;  // keeps the text of the tag parts

    [[nodiscard]] Py_ssize_t size() const noexcept { return PyTuple_GET_SIZE(names.get()); }
    [[nodiscard]] const char* name(Py_ssize_t place) const noexcept {
        return PyUnicode_AsUTF8(PyTuple_GET_ITEM(names.get(), place));
    }
};

// What stands in `defaults` for a parameter without one; the module has it as MISSING.
[[nodiscard]] PyObject* missing_default() noexcept;
[[nodiscard]] int init_call_plan(PyObject* module);

// A call whose arguments have found their parameters. Borrowed references, alive while the call is.
class BoundCall {
  public:
    enum class Outcome {
        Bound,
        Unbindable,  // the function itself is to say why, by being called
    };
    [[nodiscard]] Outcome bind(const CallPlan& plan, const Call& call);

    [[nodiscard]] std::span<PyObject* const> values() const noexcept { return values_; }
    [[nodiscard]] std::span<PyObject* const> rest() const noexcept { return rest_; }
    // What **kwargs would hold. Whoever needs it in another order may sort it.
    [[nodiscard]] std::span<NamedArgument> named() noexcept { return named_; }
    [[nodiscard]] std::span<const NamedArgument> named() const noexcept { return named_; }

  private:
    static constexpr std::size_t kInline = 16;

    std::span<PyObject* const> values_;
    std::span<PyObject* const> rest_;
    PyObject* inline_[kInline];
    std::vector<PyObject*> spilled_;
    std::span<NamedArgument> named_;
    NamedArgument inline_named_[kInline];
    std::vector<NamedArgument> spilled_named_;
};

// The plan from what Python found: (names, defaults, positional_only, positional, var_positional,
// var_named, ignored names, tag templates as tuples of str and int). Null with an exception set.
[[nodiscard]] std::unique_ptr<CallPlan> make_plan(PyObject* description);

}  // namespace millpond::bindings

// The insides of FirstLook, shared by first_look.cpp, which looks, and first_look_object.cpp, which is
// the type; nobody else includes this.
#pragma once

#include <Python.h>

#include <vector>

#include "hot/entry_reader.hpp"
#include "hot/entry_reading.hpp"
#include "hot/first_look.hpp"
#include "hot/row_look.hpp"

namespace millpond::bindings {

struct FirstLookObject {
    PyObject_HEAD PyObject* reader;  // EntryReader
    PyObject* stage;                 // .failed(ticket, op, error), .said(notice, why)
    PyObject* tier;                  // .fetch(keys, names, deadline), .timeout
    PyObject* row;                   // RowLook of the tier, or null
    PyObject* journal;
    const void* pending;    // in the journal
    PyObject* listening;    // .on; None: there is nothing to hear
    PyObject* generations;  // of every call: a tuple of names
    PyObject* deadline;     // deadline(at), the class
    double most;            // seconds that memory keeps a value
    double budget;          // seconds for all tiers
    KnownStampsPtr* known;  // owned; of `generations`, as the row look has found them
};

// One look-up.
class OneLook {
  public:
    OneLook(FirstLookObject* self, PyObject* call, LookFor how, FirstFound& found) noexcept
        : self_(self), call_(call), how_(how), found_(found) {}

    Looked run();
    // The two halves of run() around a tier that is awaited; see FirstLook.begin() and end().
    PyObject* begin();
    PyObject* end(PyObject* begun, PyObject* fetched);

  private:
    // What a tier is asked for; a ticket below zero: it is not to be asked.
    struct Question {
        std::int64_t ticket = -1;
        Ref keys, deadline;  // null, with an exception set: it cannot be
    };

    Looked may_ask();
    Question question();
    Looked answered(std::int64_t ticket, const Ref& fetched);
    bool name_generations();
    Looked from_row();
    Looked from_tier();
    Looked cannot();
    Reading::Outcome open(PyObject* data, const std::vector<Present>& known, std::int64_t micros);
    Looked of_no_use(Reading::Outcome outcome, PyObject* data, PyObject* fetched);
    Looked absent(PyObject* fetched, PyObject* seen, PyObject* past = Py_None);
    Looked failed(std::int64_t ticket);
    bool ended(std::int64_t ticket, PyObject* data);

    [[nodiscard]] const ReaderObject& reader() const {
        return *reinterpret_cast<ReaderObject*>(self_->reader);
    }
    [[nodiscard]] PyObject* monitor() const { return reader().monitor; }
    [[nodiscard]] PyObject* key() const { return PyTuple_GET_ITEM(call_, 0); }

    FirstLookObject* self_;
    PyObject* call_;
    LookFor how_;
    FirstFound& found_;
    Ref names_;
    Instant began_{};
};

// Makes the names of attributes, once. False with an exception set.
[[nodiscard]] bool make_first_look_texts();

}  // namespace millpond::bindings

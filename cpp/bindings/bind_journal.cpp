#include "bind_journal.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string_view>
#include <utility>

#include "given_clock.hpp"
#include "hot/forks.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/journal.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

using cache::JournalLimits;
using cache::PendingKind;

// How long a tier that has refused its journal is left alone.
constexpr Nanos kRest = std::chrono::milliseconds{75};

// The journal, which in the child of a fork hands out again what its parent's thread had taken.
class PyJournal {
  public:
    PyJournal(std::size_t max_items, std::size_t max_bytes, const py::object& clock)
        : clock_(clock), journal_(JournalLimits{max_items, max_bytes}) {
        if (max_items == 0 || max_bytes == 0) {
            throw Error(ErrorCode::InvalidArgument,
                        "max_items and max_bytes: allowed are numbers above 0");
        }
    }

    void add(PendingKind kind, const py::iterable& texts) {
        if (py::isinstance<py::str>(texts)) {
            throw py::type_error("a list of str is needed, not one str");
        }
        for (const py::handle text : texts) {
            if (PyUnicode_Check(text.ptr()) == 0) {
                throw py::type_error("each of them has to be a str");
            }
            Py_ssize_t size = 0;
            const char* const bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
            if (bytes == nullptr) {
                throw py::error_already_set();
            }
            // Added one by one: an iterable can run anything, this journal's methods too.
            journal().add(kind, {bytes, static_cast<std::size_t>(size)});
        }
    }
    void add_everything() { journal().add_everything(); }

    py::object take(std::size_t max_items, bool eager) {
        if (max_items == 0) {
            throw Error(ErrorCode::InvalidArgument, "max_items=0: allowed is a number above 0");
        }
        static constexpr const char* kKinds[] = {"everything", "names", "keys"};
        auto batch = journal().take(max_items, eager ? kNever : clock_.now());
        if (!batch) {
            return py::none();
        }
        return py::make_tuple(batch->token, kKinds[static_cast<std::size_t>(batch->kind)],
                              py::cast(batch->items));
    }
    bool done(std::uint64_t token) { return journal().done(token); }
    bool failed(std::uint64_t token, bool refused) {
        return journal().failed(token, refused ? clock_.now() + kRest : Instant{});
    }

    std::size_t size() { return journal().size(); }
    // A fork leaves pending what was, so it need not be looked for.
    [[nodiscard]] bool is_pending() const noexcept { return journal_.size() != 0; }
    std::size_t bytes() { return journal().bytes(); }
    bool everything() { return journal().everything(); }
    std::uint64_t overflows() { return journal().overflows(); }

  private:
    cache::Journal& journal() {
        if (std::exchange(forks_, g_forks) != g_forks) {
            journal_.forked();
        }
        return journal_;
    }

    GivenClock clock_;
    cache::Journal journal_;
    std::uint32_t forks_ = g_forks;
};

}  // namespace

const void* journal_in(PyObject* object) {
    const py::handle given(object);
    return py::isinstance<PyJournal>(given) ? given.cast<const PyJournal*>() : nullptr;
}

bool journal_is_pending(const void* journal) noexcept {
    return static_cast<const PyJournal*>(journal)->is_pending();
}

void bind_journal(py::module_& m) {
    const JournalLimits limits;
    py::class_<PyJournal>(m, "Journal", py::is_final(),
                          "What a tier that is out has to be told before it is read again.")
        .def(py::init<std::size_t, std::size_t, const py::object&>(), py::kw_only(),
             py::arg("max_items") = limits.items, py::arg("max_bytes") = limits.bytes,
             py::arg("clock") = py::none())
        .def(
            "add_names",
            [](PyJournal& self, const py::iterable& names) { self.add(PendingKind::Names, names); },
            py::arg("names"), py::pos_only(), "Generation names to be bumped.")
        .def(
            "add_keys",
            [](PyJournal& self, const py::iterable& keys) { self.add(PendingKind::Keys, keys); },
            py::arg("keys"), py::pos_only(), "Keys to be deleted.")
        .def("add_everything", &PyJournal::add_everything,
             "All of the tier: its namespace is to be bumped.")
        .def("take", &PyJournal::take, py::arg("max_items") = 500, py::pos_only(), py::kw_only(),
             py::arg("eager") = false,
             "(token, kind, items) to tell the tier now, the kind \"names\", \"keys\" or\n"
             "\"everything\"; None if nothing is pending, a batch is out, or, unless `eager`, the\n"
             "tier has refused one a moment ago.")
        .def("done", &PyJournal::done, py::arg("token"), py::pos_only(),
             "The tier has been told. False if that batch is not out any longer.")
        .def("failed", &PyJournal::failed, py::arg("token"), py::pos_only(), py::kw_only(),
             py::arg("refused") = false,
             "The tier has not been told: the batch is pending again; one that was refused, in a\n"
             "moment.")
        .def("__len__", &PyJournal::size)
        .def_property_readonly("bytes", &PyJournal::bytes, "What the items take, about.")
        .def_property_readonly("everything", &PyJournal::everything,
                               "Whether all of the tier is to be invalidated.")
        .def_property_readonly("overflows", &PyJournal::overflows,
                               "How often there was too much to be held one by one.");
}

}  // namespace millpond::bindings

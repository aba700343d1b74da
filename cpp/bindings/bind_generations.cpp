#include "bind_generations.hpp"

#include <pybind11/pybind11.h>

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "given_clock.hpp"
#include "hot/forks.hpp"
#include "hot/heap_type.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/generations.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

using cache::GenerationName;
using cache::GenerationTable;
using cache::Stamp;

constexpr std::size_t kNameBytes = 16;

[[noreturn]] void refuse_name() {
    throw Error(ErrorCode::InvalidArgument,
                "a generation name is 16 bytes, or 32 hexadecimal digits in lower case");
}

std::uint64_t word_of_bytes(std::string_view bytes) {
    std::uint64_t word = 0;
    for (const char each : bytes) {
        word = word << 8 | static_cast<unsigned char>(each);
    }
    return word;
}

std::uint64_t word_of_digits(std::string_view digits) {
    std::uint64_t word = 0;
    for (const char each : digits) {
        const bool number = each >= '0' && each <= '9';
        if (!number && !(each >= 'a' && each <= 'f')) {
            refuse_name();
        }
        word = word << 4 | static_cast<std::uint64_t>(number ? each - '0' : each - 'a' + 10);
    }
    return word;
}

GenerationName read_name(py::handle given) {
    std::string_view text;
    if (PyBytes_Check(given.ptr())) {
        text = {PyBytes_AS_STRING(given.ptr()),
                static_cast<std::size_t>(PyBytes_GET_SIZE(given.ptr()))};
        if (text.size() == kNameBytes) {
            return {word_of_bytes(text.substr(0, 8)), word_of_bytes(text.substr(8))};
        }
    } else if (PyUnicode_Check(given.ptr()) && PyUnicode_IS_COMPACT_ASCII(given.ptr())) {
        text = {static_cast<const char*>(PyUnicode_DATA(given.ptr())),
                static_cast<std::size_t>(PyUnicode_GET_LENGTH(given.ptr()))};
    }
    if (text.size() != 2 * kNameBytes) {
        refuse_name();
    }
    return {word_of_digits(text.substr(0, 16)), word_of_digits(text.substr(16))};
}

py::str digits_of(const GenerationName& name) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::array<char, 2 * kNameBytes> text{};
    for (std::size_t i = 0; i < text.size(); ++i) {
        const std::uint64_t word = i < 16 ? name.high : name.low;
        text[i] = kDigits[word >> (60 - 4 * (i % 16)) & 15];
    }
    return {text.data(), text.size()};
}

// The table with the clock that it is used by.
class Table {
  public:
    Table(std::size_t limit, const py::object& clock)
        : clock_(clock), table_(checked(limit), random_seed(), clock_.now()) {}

    std::uint64_t sequence() { return table().sequence(); }
    bool up() { return table().up(); }
    std::uint64_t link_up() {
        table().link_up(clock_.now());
        return table().sequence();
    }
    void link_down() { table().link_down(clock_.now()); }
    double link_age() {
        return static_cast<double>((clock_.now() - table().since()).count()) * 1e-9;
    }
    bool learn(py::handle name, Stamp stamp, std::uint64_t since) {
        return table().learn(read_name(name), stamp, since);
    }
    bool forget(py::handle name) { return table().forget(read_name(name)); }
    void forget_all() { table().forget_all(); }
    py::list known(const py::sequence& names) {
        py::list stamps(names.size());
        for (std::size_t i = 0; i < stamps.size(); ++i) {
            const std::optional<Stamp> stamp = table().known(read_name(names[i]));
            stamps[i] = stamp ? py::object(py::int_(*stamp)) : py::object(py::none());
        }
        return stamps;
    }
    py::list names() {
        // Collected first: making the objects can start the collector, which can run anything.
        std::vector<std::pair<GenerationName, Stamp>> held;
        held.reserve(table().size());
        table().for_each(
            [&held](const GenerationName& name, Stamp stamp) { held.emplace_back(name, stamp); });
        py::list out;
        for (const auto& [name, stamp] : held) {
            out.append(py::make_tuple(digits_of(name), stamp));
        }
        return out;
    }
    std::size_t size() { return table().size(); }
    std::size_t limit() { return table().limit(); }

  private:
    static std::size_t checked(std::size_t limit) {
        constexpr std::size_t kMost = std::size_t{1} << 28;
        if (limit == 0 || limit > kMost) {
            throw Error(ErrorCode::InvalidArgument,
                        "limit: allowed is a number of names from 1 to 2^28");
        }
        return limit;
    }
    // In the child of a fork nobody hears the link: it was the parent's.
    GenerationTable& table() {
        if (std::exchange(forks_, g_forks) != g_forks && table_.up()) {
            table_.link_down(clock_.now());
        }
        return table_;
    }
    GivenClock clock_;
    GenerationTable table_;
    std::uint32_t forks_ = g_forks;
};

}  // namespace

void bind_generations(py::module_& m) {
    py::class_<Table>(m, "GenerationTable", py::is_final(),
                      "The stamps that hold while a tier's link is up.")
        .def(py::init<std::size_t, const py::object&>(), py::arg("limit"), py::kw_only(),
             py::arg("clock") = py::none())
        .def("sequence", &Table::sequence,
             "What a request that is sent now hands to `learn` with its answer.")
        .def_property_readonly("up", &Table::up, "Whether the link is up.")
        .def_property_readonly("link_age", &Table::link_age,
                               "Seconds since the link came up or went down.")
        .def_property_readonly("limit", &Table::limit, "The most names that are held.")
        .def("link_up", &Table::link_up,
             "The server tells every change from now on. Returns the sequence.")
        .def("link_down", &Table::link_down, "Nothing is known until the link is up again.")
        .def("learn", &Table::learn, py::arg("name"), py::arg("stamp"), py::arg("since"),
             py::pos_only(),
             "The server's answer to a request sent at `since`; False if it may be outdated.")
        .def("forget", &Table::forget, py::arg("name"), py::pos_only(),
             "A push: the name has another stamp. Whether it was held.")
        .def("forget_all", &Table::forget_all, "The server has forgotten all of its names.")
        .def("known", &Table::known, py::arg("names"), py::pos_only(),
             "The present stamps; None where the server has to be asked.")
        .def("names", &Table::names,
             "(name, stamp) of all that is held, to be compared with the server's.")
        .def("__len__", &Table::size);
}

}  // namespace millpond::bindings

#include <pybind11/pybind11.h>

#include "bind_cache.hpp"
#include "bind_flights.hpp"
#include "bind_generations.hpp"
#include "bind_journal.hpp"
#include "bind_keys.hpp"
#include "bind_tiers.hpp"
#include "bind_weigher.hpp"
#include "translate_error.hpp"

PYBIND11_MODULE(_engine, m) {
    m.doc() = "The millpond engine.";
    millpond::bindings::bind_errors(m);
    millpond::bindings::bind_flights(m);
    millpond::bindings::bind_keys(m);
    millpond::bindings::bind_cache(m);
    millpond::bindings::bind_tiers(m);
    millpond::bindings::bind_generations(m);
    millpond::bindings::bind_journal(m);
    millpond::bindings::bind_weigher(m);
}

#include "bind_tiers.hpp"

#include <pybind11/pybind11.h>

#include "hot/entry_reader.hpp"
#include "hot/first_look.hpp"
#include "hot/mapped_stamp.hpp"
#include "hot/read_lock.hpp"
#include "hot/redis_lookup.hpp"
#include "hot/row_look.hpp"
#include "hot/tier_monitor.hpp"

namespace millpond::bindings {

void bind_tiers(pybind11::module_& m) {
    if (init_tier_monitor(m.ptr()) < 0 || init_mapped_stamp(m.ptr()) < 0 ||
        init_entry_reader(m.ptr()) < 0 || init_read_lock(m.ptr()) < 0 ||
        init_row_look(m.ptr()) < 0 || init_redis_lookup(m.ptr()) < 0 ||
        init_first_look(m.ptr()) < 0) {
        throw pybind11::error_already_set();
    }
}

}  // namespace millpond::bindings

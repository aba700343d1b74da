// The clock of an object that pybind11 binds: a ManualClock that a test hands to it, or the process's.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "hot/clock.hpp"

namespace millpond::bindings {

class GivenClock {
  public:
    explicit GivenClock(pybind11::object clock) : clock_(std::move(clock)) {
        if (!clock_.is_none() && Py_TYPE(clock_.ptr()) != manual_clock_type()) {
            throw pybind11::type_error("clock: a ManualClock or None is needed");
        }
    }

    [[nodiscard]] Instant now() const {
        return clock_.is_none() ? precise_now()
                                : reinterpret_cast<const ManualClockObject*>(clock_.ptr())->now;
    }

  private:
    pybind11::object clock_;
};

}  // namespace millpond::bindings

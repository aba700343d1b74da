#include "millpond/cache/cost.hpp"

#include <cmath>

namespace millpond::cache {

Cost::Cost(double dollars) noexcept {
    if (!(dollars > 0)) {
        return;
    }
    dollars = std::fmin(dollars, kMostDollars);
    constexpr double kMostDigits = 99'999'999;
    for (int scale = kMostScale; scale >= -kShift; --scale) {
        const double digits =
            std::round(scale >= 0 ? dollars * kPowers[scale] : dollars / kPowers[-scale]);
        if (digits <= kMostDigits) {
            if (digits > 0) {
                bits_ = static_cast<std::uint32_t>(digits) << kScaleBits |
                        static_cast<std::uint32_t>(scale + kShift);
            }
            return;
        }
    }
}

}  // namespace millpond::cache

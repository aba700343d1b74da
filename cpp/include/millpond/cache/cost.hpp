// Cost: dollars in 32 bits, as a decimal number of eight digits. An entry has no room for a double,
// and a float makes 0.00200000009 of 0.002, which whoever adds up a bill then finds in it.
#pragma once

#include <cstdint>

namespace millpond::cache {

// The most dollars that a cost can be.
inline constexpr double kMostDollars = 1e15;

class Cost {
  public:
    constexpr Cost() = default;
    // The nearest number of up to eight digits; below 1e-15 of fewer. What is no number is nothing.
    // O(1), some 30 divisions at most.
    explicit Cost(double dollars) noexcept;

    [[nodiscard]] bool is_zero() const noexcept { return bits_ == 0; }
    // Dollars: the double nearest to the decimal number, since both operands are exact. O(1).
    [[nodiscard]] double dollars() const noexcept {
        const auto digits = static_cast<double>(bits_ >> kScaleBits);
        const int scale = static_cast<int>(bits_ & kScaleMask) - kShift;
        return scale >= 0 ? digits / kPowers[scale] : digits * kPowers[-scale];
    }

  private:
    static constexpr unsigned kScaleBits = 5;
    static constexpr std::uint32_t kScaleMask = (1U << kScaleBits) - 1;
    static constexpr int kShift = 8;       // scales from -8
    static constexpr int kMostScale = 22;  // the last power of ten that a double holds exactly
    static constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                         1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                         1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    std::uint32_t bits_ = 0;  // digits / 10^scale: 27 bits of digits, 5 of scale + kShift
};

}  // namespace millpond::cache

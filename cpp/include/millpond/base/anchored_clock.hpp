// AnchoredClock: the time of an exact but slow clock, at the price of reading two fast ones: a coarse
// clock, which moves by ticks of some milliseconds, and a counter. Within a tick, time is the exact
// reading that was taken in it plus what the counter has advanced since, at the rate measured between
// the last such readings.
//
// The counter is not trusted further than that. One that stops, jumps, runs backwards or changes its
// rate (a suspended or migrated virtual machine, another socket's counter) can make the time wrong by
// less than a tick or kWindow, and not beyond that tick; then the exact clock is asked alone until two
// measured rates agree again. As long as the counter behaves the error is below some microseconds, by
// which time may also seem to step back when a tick begins.
#pragma once

#include <cstdint>

#include "millpond/base/clock.hpp"

namespace millpond {

// The parameters are callables: Instant clock(), Instant coarse(), std::uint64_t counter(). Not
// thread-safe. now() costs a reading of the coarse clock and one of the counter, and once a tick one
// of the exact clock and two more of the counter.
template <class Clock, class Coarse, class Counter>
class AnchoredClock {
  public:
    static constexpr Nanos kWindow = std::chrono::milliseconds{4};
    // The least time between two readings from which the rate is taken.
    static constexpr Nanos kShortest = std::chrono::microseconds{500};

    explicit AnchoredClock(Clock clock = {}, Coarse coarse = {}, Counter counter = {}) noexcept
        : clock_(clock), coarse_(coarse), counter_(counter) {}

    [[nodiscard]] Instant now() noexcept {
        const Instant tick = coarse_();
        const std::uint64_t since = counter_() - anchor_count_;
        if (since < window_ && tick == tick_) [[likely]] {
            return anchor_ + Nanos{static_cast<Nanos::rep>((since * nanos_per_count_) >> kShift)};
        }
        return anchor(tick);
    }

  private:
    // A counter that advances less than this meanwhile stands still, or is too coarse to be of use.
    static constexpr std::uint64_t kLeast = 1U << 12;
    // Counts of a window and the fixed-point rate multiply within 64 bits: 4 ms are 2^22 ns.
    static constexpr unsigned kShift = 32;
    // A reading of the clock that took the counter longer than this was interrupted.
    static constexpr std::uint64_t kQuick = 1U << 12;

    // Reads the clock and, where the counter has done well since the last time, trusts it again.
    Instant anchor(Instant tick) noexcept {
        const std::uint64_t before = counter_();
        const Instant now = clock_();
        const std::uint64_t after = counter_();
        const std::uint64_t count = before + (after - before) / 2;
        const std::uint64_t counted = count - anchor_count_;
        const Nanos passed = now - anchor_;
        window_ = 0;
        if (after - before > kQuick || passed < kShortest) {
            return now;  // Interrupted, or too soon for a good rate: the old anchor stays.
        }
        const double rate = static_cast<double>(passed.count()) / static_cast<double>(counted);
        if (counted >= kLeast && rate > rate_ * 0.999 && rate < rate_ * 1.001) {
            nanos_per_count_ = static_cast<std::uint64_t>(rate * 0x1p32);
            window_ = static_cast<std::uint64_t>(static_cast<double>(kWindow.count()) / rate);
        }
        rate_ = rate;
        tick_ = tick;
        anchor_ = now;
        anchor_count_ = count;
        return now;
    }

    Clock clock_;
    Coarse coarse_;
    Counter counter_;
    Instant tick_{};
    Instant anchor_{};
    std::uint64_t anchor_count_ = 0;
    std::uint64_t window_ = 0;  // counts; zero: the counter is not trusted
    std::uint64_t nanos_per_count_ = 0;
    double rate_ = 0;  // nanoseconds a count
};

}  // namespace millpond

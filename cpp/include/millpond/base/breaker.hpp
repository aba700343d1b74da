// Breaker: whether to call something that may be out, decided from how its calls went.
//
// Closed, it lets every call through and counts them in a sliding window; it opens when too large a
// share of them went badly, or when a number of them failed in a row. Open, it lets nobody through.
// After a while it lets one probe through, which no caller waits for: whoever looks after it asks
// begin_probe() and says how it went. A probe that fails makes it wait again, for longer, with
// jitter so that many processes do not probe in step; some good ones in a row close it.
//
//     closed --bad calls--> open --begin_probe()--> half open --good probes--> closed
//                            ^                          |
//                            +--------a bad probe-------+
//
// What was let through before a transition says nothing about what has come after it. Every
// admission carries an epoch, a new one begins with each transition, and a result from an epoch that
// is over changes nothing: it neither closes nor opens the breaker again.
//
// M. Nygard, "Release It!", 2007, has the pattern; B. Beyer et al., "Site Reliability Engineering",
// 2016, ch. 22, why waits are jittered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "millpond/base/clock.hpp"

namespace millpond {

enum class BreakerState : std::uint8_t { Closed, Open, HalfOpen };

// How a call went, as far as the one who answers it is to blame.
enum class CallResult : std::uint8_t {
    Good,
    Slow,    // done, but later than is of use: counts as bad, not as a failure
    Failed,  // bad
    Void,    // says nothing: the caller gave up, or left it no time
};

struct BreakerOptions {
    Nanos bucket = std::chrono::seconds{1};             // the window has kBuckets of them; > 0
    std::uint32_t least_calls = 5;                      // fewer in the window are no evidence; >= 1
    double bad_share = 0.5;                             // of the window, at which it opens; (0, 1]
    std::uint32_t failures_in_a_row = 5;                // at which it opens; >= 1
    Nanos first_wait = std::chrono::milliseconds{500};  // before the first probe; > 0
    Nanos longest_wait = std::chrono::seconds{1};       // each wait is twice the last, up to this
    double jitter = 0.2;            // a wait is shortened by up to this share; [0, 1)
    std::uint32_t good_probes = 2;  // in a row, close it; >= 1
    Nanos probe_lease =
        std::chrono::seconds{1};  // a probe that is not heard of for so long is lost
    Nanos steady =
        std::chrono::seconds{10};  // closed for so long, the next wait is the first again
};

// Not thread-safe: the owner's lock covers it. All operations are O(1) and allocate nothing. Time
// that steps back is taken as standing still.
class Breaker {
  public:
    static constexpr std::size_t kBuckets = 10;

    explicit Breaker(const BreakerOptions& options, std::uint64_t seed) noexcept
        : options_(options), random_(seed) {}

    [[nodiscard]] BreakerState state() const noexcept { return state_; }
    // Whether calls are let through.
    [[nodiscard]] bool admits() const noexcept { return state_ == BreakerState::Closed; }
    // What a call that is let through now hands to record().
    [[nodiscard]] std::uint32_t epoch() const noexcept { return epoch_; }

    // How a call went that was let through in `epoch`. True if this one opened the breaker.
    bool record(CallResult result, std::uint32_t epoch, Instant now) noexcept;

    // When the next probe is due; kNever while closed. Past, if it is due already.
    [[nodiscard]] Instant next_probe() const noexcept { return next_probe_; }
    // The epoch of a probe that is to be made now; none if none is due.
    [[nodiscard]] std::optional<std::uint32_t> begin_probe(Instant now) noexcept;
    // How the probe of `epoch` went. True if this one closed the breaker. What is not Good is bad.
    bool end_probe(CallResult result, std::uint32_t epoch, Instant now) noexcept;

    // For the child of a fork, in which nobody makes the probe that was under way: the next one is
    // due at once, and chance goes other ways than in the parent.
    void forked(std::uint64_t seed, Instant now) noexcept;

  private:
    struct Tally {
        std::uint32_t calls = 0;
        std::uint32_t bad = 0;
    };

    void turn(Instant now) noexcept;
    void forget() noexcept;
    void open(Instant now) noexcept;
    [[nodiscard]] Nanos next_wait() noexcept;

    BreakerOptions options_;
    std::uint64_t random_;
    BreakerState state_ = BreakerState::Closed;
    std::uint32_t epoch_ = 0;
    std::array<Tally, kBuckets> window_{};
    Tally sum_;
    std::int64_t bucket_ = 0;  // the number of the latest, counted from the clock's zero
    std::uint32_t in_a_row_ = 0;
    std::uint32_t good_probes_ = 0;
    bool probing_ = false;
    Nanos wait_{0};  // the last one, before jitter; zero: none yet
    Instant closed_at_{};
    Instant next_probe_ = kNever;
};

}  // namespace millpond

// TierMonitor: what is known of one tier, and whether to ask it now. Whoever is about to call the
// tier asks begin(), and tells end() how it went:
//
//     const std::int64_t ticket = monitor.begin(TierOp::Fetch, now);
//     if (ticket < 0) ...                            // the tier is out: go on without it
//     ... call the tier ...
//     const TierNotice notice = monitor.end(ticket, TierOutcome::Ok, {.in = 812}, later);
//     if (notice != TierNotice::None) ...            // say it in the log, once
//
// Two breakers decide. One opens when the tier fails or is slow, and nothing is asked of it then.
// The other opens when the tier says that it is full, and refuses only what needs room for values
// (needs_room); look-ups and invalidations go on. Either is closed by probes (begin_probe), which a
// thread in the background makes: a "read" may be any look-up, a "write" has to take room.
//
// An operation that was begun and neither ended nor refused counts as in flight for ever, so every
// ticket needs its end(), whatever was raised meanwhile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "millpond/base/breaker.hpp"
#include "millpond/base/clock.hpp"
#include "millpond/base/histogram.hpp"

namespace millpond::cache {

enum class TierOp : std::uint8_t {
    Fetch,
    Store,
    Write,
    Delete,
    Bump,
    Stamp,
    Incr,
    Scan,
    Inspect,
    Erase,
    Lease,
    Confirm,  // waits for replicas: that it takes long says nothing of the tier
};
inline constexpr std::size_t kTierOps = 12;
[[nodiscard]] std::string_view name_of(TierOp op) noexcept;

// The kinds of TierError, with the two that are no errors.
enum class TierOutcome : std::uint8_t {
    Ok,
    Timeout,
    Unavailable,
    NotReady,
    Full,
    Configuration,
    Damaged,
    Cancelled,  // given up by its caller: says nothing of the tier
};
inline constexpr std::size_t kTierOutcomes = 8;
[[nodiscard]] std::string_view name_of(TierOutcome outcome) noexcept;

// What else is counted. The misses are by their reason.
enum class TierEvent : std::uint8_t {
    Hit,
    Absent,           // a miss: there is no entry
    StaleGeneration,  // a miss: stored under a stamp that is no more
    Expired,          // a miss: its life was over by the entry's own account
    Unreadable,       // a miss: foreign, damaged, of another schema, too large
    FillRefused,      // not stored: invalidated while it was loaded
    FillDropped,      // not stored: no time was left, or nobody to do it
    Stale,            // a miss: past its life, and kept in case that the load fails
    StaleHit,         // such a value was served: it is being loaded anew, or that failed
};
inline constexpr std::size_t kTierEvents = 9;
[[nodiscard]] std::string_view name_of(TierEvent event) noexcept;

// A transition, told to the one call that made it.
enum class TierNotice : std::uint8_t {
    None,
    Opened,         // the tier is out: cause() says why
    Closed,         // it is back
    Full,           // it is full: nothing more is stored
    Room,           // it has room again
    Configuration,  // it refuses what it is asked; said once an outage
};
[[nodiscard]] std::string_view name_of(TierNotice notice) noexcept;

// Whether an operation is refused while the tier is full. Invalidations are always worth the try.
[[nodiscard]] constexpr bool needs_room(TierOp op) noexcept {
    return op == TierOp::Store || op == TierOp::Write || op == TierOp::Stamp || op == TierOp::Incr;
}

struct TierBytes {
    std::uint64_t in = 0;   // of entries read
    std::uint64_t out = 0;  // of entries sent
};

struct TierOpStats {
    std::array<std::uint64_t, kTierOutcomes> outcomes{};
    std::uint64_t refused = 0;  // not asked, since the tier was out or full
    TierBytes bytes;
    ExponentialHistogram latency;  // seconds; of all that ended but Cancelled
};

struct TierOutage {
    Instant start{};
    Nanos length{0};                               // of one that is over
    TierOutcome cause = TierOutcome::Unavailable;  // Ok: slow
};

struct TierStats {
    std::array<TierOpStats, kTierOps> operations;
    std::array<std::uint64_t, kTierEvents> events{};
    std::uint64_t in_flight = 0;
    std::uint64_t probes = 0;
    std::uint64_t failed_probes = 0;
    std::uint64_t outages = 0;  // the present one too
    Nanos out{0};               // in those that are over
    std::uint64_t times_full = 0;
    std::vector<TierOutage> recent;  // outages that are over, the latest last
};

struct TierMonitorOptions {
    BreakerOptions breaker;
    // What takes longer and succeeds is slow.
    Nanos slow = std::chrono::milliseconds{100};
    // A timeout that left the tier less than this says nothing about it.
    Nanos patience = std::chrono::milliseconds{10};
};

// Not thread-safe: the owner's lock (the GIL) covers it. begin(), end() and count() are O(1).
class TierMonitor {
  public:
    static constexpr std::size_t kRecentOutages = 32;
    // Why begin() refuses.
    static constexpr std::int64_t kOut = -1;
    static constexpr std::int64_t kNoRoom = -2;

    TierMonitor(const TierMonitorOptions& options, std::uint64_t seed, Instant now);

    // A ticket for end(), or what is below zero: the operation is not to be made. The ticket is all
    // that is kept of it: its kind, when it began (to 128 ns), and the breakers' epochs.
    [[nodiscard]] std::int64_t begin(TierOp op, Instant now) noexcept;
    // How the operation went. Its latency is not counted where there is no memory for that.
    // REQUIRES: begin() gave `ticket`, less than 50 days ago, and it was not ended before.
    TierNotice end(std::int64_t ticket, TierOutcome outcome, TierBytes bytes, Instant now) noexcept;
    void count(TierEvent event, std::uint64_t times = 1) noexcept {
        stats_.events[static_cast<std::size_t>(event)] += times;
    }

    // ---- Probes
    struct Probe {
        bool write = false;  // whether it has to take room
        std::uint32_t epoch = 0;
    };
    // When the next one is due; kNever: no breaker is open.
    [[nodiscard]] Instant next_probe() const noexcept;
    [[nodiscard]] std::optional<Probe> begin_probe(Instant now) noexcept;
    // A probe that was slow is a bad one.
    TierNotice end_probe(const Probe& probe, TierOutcome outcome, Instant now) noexcept;

    // ---- For those who look
    [[nodiscard]] BreakerState state() const noexcept { return calls_.state(); }
    [[nodiscard]] bool full() const noexcept { return !room_.admits(); }
    [[nodiscard]] const TierStats& stats() const noexcept { return stats_; }
    // The present outage; none while the breaker is closed.
    [[nodiscard]] const std::optional<TierOutage>& outage() const noexcept { return outage_; }

    // For the child of a fork: it counts from zero, so that the counts of processes add up, and goes
    // on with the breakers as they are, so that no worker has to find out anew that a tier is out.
    void forked(std::uint64_t seed, Instant now) noexcept;

  private:
    [[nodiscard]] CallResult judge(TierOp op, TierOutcome outcome, Nanos took) const noexcept;
    TierNotice opened(TierOutcome cause, Instant now) noexcept;
    TierNotice closed(Instant now) noexcept;

    TierMonitorOptions options_;
    Instant born_;
    Breaker calls_;
    Breaker room_;
    TierStats stats_;
    std::optional<TierOutage> outage_;
    Instant probed_at_{};
    bool configuration_said_ = false;
};

}  // namespace millpond::cache

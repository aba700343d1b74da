// What a store costs: bytes an entry, the longest insertion while it grows, a hit, an eviction.
//
//     engine_bench [memory | growth | hit | evict]...
#include <malloc.h>
#include <ctime>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "millpond/base/hash.hpp"
#include "millpond/cache/store.hpp"

namespace {

using namespace millpond;
using namespace millpond::cache;

struct Named {
    const char* name;
    PolicyKind kind;
};
constexpr Named kPolicies[] = {{"lru", PolicyKind::Lru},
                               {"lfu", PolicyKind::Lfu},
                               {"fifo", PolicyKind::Fifo},
                               {"sieve", PolicyKind::Sieve},
                               {"s3fifo", PolicyKind::S3Fifo}};

std::int64_t nanos() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// A store with numbers for keys and a clock of its own.
struct Bench {
    explicit Bench(PolicyKind policy, std::uint64_t max_entries = kUnbounded)
        : store({.max_entries = max_entries, .policy = policy}), space(store.open_space()) {}

    [[nodiscard]] KeyRef key(Word word) const { return {mix64(word + 1), word, space, 0}; }
    void put(Word word, std::span<const TagHash> tags = {}) {
        const Keep keep{.weight = 1, .deadline = now + std::chrono::minutes{10}};
        store.put(key(word), kNoSlot, word, keep, tags, now);
        store.removed().clear();
        now += Nanos{100};
    }
    // Finds, looks at the deadline, reads the value and records the hit.
    Word hit(Word word) {
        const Slot slot = store.find(key(word));
        Entry& entry = store[slot];
        if (entry.deadline <= now) {
            return 0;
        }
        store.hit(slot, entry, now);
        return entry.value;
    }

    StoreCore store;
    SpaceId space;
    Instant now{std::chrono::hours{1}};
};

// Bytes in use by the allocator's own count, its headers included.
std::size_t allocated() {
    const auto info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

enum class Tagged { Not, Shared, Own };

double bytes_an_entry(PolicyKind policy, Tagged tagged) {
    constexpr Word kEntries = 1'000'000;
    constexpr double kPayload = 24;  // key word, value word and hash
    const std::size_t before = allocated();
    const auto bench = std::make_unique<Bench>(policy, kEntries);
    for (Word word = 0; word < kEntries * 3 / 2; ++word) {
        const TagHash tag = mix64(tagged == Tagged::Shared ? word % 1000 : word);
        bench->put(word, tagged == Tagged::Not ? std::span<const TagHash>() : std::span(&tag, 1));
    }
    const auto bytes = static_cast<double>(allocated() - before);
    return bytes / static_cast<double>(bench->store.size()) - kPayload;
}

void memory() {
    std::printf("bytes an entry beside key, value and hash, 10^6 entries with deadlines\n");
    std::printf("  %-8s %12s %14s %14s\n", "policy", "no tag", "a shared tag", "a tag alone");
    for (const Named& policy : kPolicies) {
        std::printf(
            "  %-8s %12.1f %14.1f %14.1f\n", policy.name, bytes_an_entry(policy.kind, Tagged::Not),
            bytes_an_entry(policy.kind, Tagged::Shared), bytes_an_entry(policy.kind, Tagged::Own));
    }
}

// The time of each insertion is the least of several runs, so that what the machine did meanwhile
// is not counted.
void growth() {
    constexpr std::size_t kEntries = 10'000'000;
    constexpr int kRuns = 3;
    std::vector<std::uint32_t> took(kEntries, 0xFFFFFFFFU);
    for (int run = 0; run < kRuns; ++run) {
        Bench bench{PolicyKind::S3Fifo};
        std::int64_t start = nanos();
        for (std::size_t i = 0; i < kEntries; ++i) {
            bench.put(i);
            const std::int64_t end = nanos();
            took[i] = std::min(took[i], static_cast<std::uint32_t>(end - start));
            start = end;
        }
    }
    const auto sum =
        static_cast<double>(std::accumulate(took.begin(), took.end(), std::uint64_t{0}));
    std::vector<std::size_t> worst(kEntries);
    std::iota(worst.begin(), worst.end(), std::size_t{0});
    std::partial_sort(worst.begin(), worst.begin() + 8, worst.end(),
                      [&](std::size_t a, std::size_t b) { return took[a] > took[b]; });
    std::printf("growing to 10^7 entries: %.0f ns a put, at most %zu index words moved; longest:\n",
                sum / kEntries, Index::kMovedPerOperation);
    for (int i = 0; i < 8; ++i) {
        std::printf("  %8u ns at %zu\n", took[worst[static_cast<std::size_t>(i)]],
                    worst[static_cast<std::size_t>(i)]);
    }
}

// The thread's own time, from which others who use the machine take nothing away.
std::int64_t busy_nanos() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

// The least of several rounds, in nanoseconds for each call.
template <class F>
double best_of(int rounds, std::size_t calls, F&& round) {
    double best = 1e18;
    for (int i = 0; i < rounds; ++i) {
        const std::int64_t start = busy_nanos();
        round();
        best =
            std::min(best, static_cast<double>(busy_nanos() - start) / static_cast<double>(calls));
    }
    return best;
}

void hit() {
    std::printf("ns a hit, random keys\n  %-8s", "policy");
    for (int power = 3; power <= 7; ++power) {
        std::printf(" %9s%d", "10^", power);
    }
    std::printf("\n");
    for (const Named& policy : kPolicies) {
        std::printf("  %-8s", policy.name);
        for (Word size = 1000; size <= 10'000'000; size *= 10) {
            constexpr std::size_t kCalls = 2'000'000;
            Bench bench{policy.kind, size};
            for (Word word = 0; word < size; ++word) {
                bench.put(word);
            }
            std::vector<std::uint32_t> keys(kCalls);
            for (std::size_t i = 0; i < kCalls; ++i) {
                keys[i] = static_cast<std::uint32_t>(mix64(i) % size);
            }
            Word sum = 0;
            const double best = best_of(5, kCalls, [&] {
                for (const Word word : keys) {
                    sum += bench.hit(word);
                }
            });
            std::printf(" %10.1f", sum == 0 ? 0.0 : best);
            std::fflush(stdout);
        }
        std::printf("\n");
    }
}

void evict() {
    std::printf("ns an insertion that evicts\n  %-8s", "policy");
    for (int power = 3; power <= 6; ++power) {
        std::printf(" %9s%d", "10^", power);
    }
    std::printf("\n");
    for (const Named& policy : kPolicies) {
        std::printf("  %-8s", policy.name);
        for (Word size = 1000; size <= 1'000'000; size *= 10) {
            constexpr std::size_t kCalls = 500'000;
            Bench bench{policy.kind, size};
            Word word = 0;
            while (word < 2 * size) {
                bench.put(word++);
            }
            std::printf(" %10.1f", best_of(5, kCalls, [&] {
                            for (std::size_t i = 0; i < kCalls; ++i) {
                                bench.put(word++);
                            }
                        }));
            std::fflush(stdout);
        }
        std::printf("\n");
    }
}

}  // namespace

int main(int argc, char** argv) {
    const auto wanted = [&](std::string_view name) {
        return argc == 1 || std::find(argv + 1, argv + argc, name) != argv + argc;
    };
    struct Part {
        const char* name;
        void (*run)();
    };
    for (const auto& [name, run] :
         {Part{"memory", memory}, Part{"hit", hit}, Part{"evict", evict}, Part{"growth", growth}}) {
        if (wanted(name)) {
            run();
        }
    }
}

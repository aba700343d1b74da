// What the CPU can do, asked at run time. Private to the engine's base.
#pragma once

#if defined(__x86_64__)
#define MILLPOND_X86_64 1
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#define MILLPOND_AARCH64 1
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#define MILLPOND_AARCH64 1
#endif

namespace millpond::cpu {

// AES rounds in one instruction, and the SSE4.1 that goes with it on x86-64.
[[nodiscard]] inline bool has_aes() noexcept {
#if defined(MILLPOND_X86_64)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
    constexpr unsigned kAes = 1U << 25, kSse41 = 1U << 19, kSsse3 = 1U << 9;
    return (c & kAes) != 0 && (c & kSse41) != 0 && (c & kSsse3) != 0;
#elif defined(MILLPOND_AARCH64) && defined(__linux__)
    constexpr unsigned long kHwcapAes = 1UL << 3;
    return (getauxval(AT_HWCAP) & kHwcapAes) != 0;
#elif defined(MILLPOND_AARCH64)
    return true;  // every Apple CPU of this architecture has them
#else
    return false;
#endif
}

// Two AES rounds in one instruction, and the AVX2 registers that it needs, which the operating
// system has to save too.
[[nodiscard]] inline bool has_wide_aes() noexcept {
#if defined(MILLPOND_X86_64)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!has_aes() || __get_cpuid(1, &a, &b, &c, &d) == 0) return false;
    constexpr unsigned kOsxsave = 1U << 27, kAvx2 = 1U << 5, kVaes = 1U << 9;
    if ((c & kOsxsave) == 0) return false;
    unsigned saved = 0, high = 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    constexpr unsigned kVectorState = 6;  // SSE and AVX
    if ((saved & kVectorState) != kVectorState) return false;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    return (b & kAvx2) != 0 && (c & kVaes) != 0;
#else
    return false;
#endif
}

// Products of polynomials over GF(2) in one instruction, of 64 by 64 bits.
[[nodiscard]] inline bool has_x86_clmul() noexcept {
#if defined(MILLPOND_X86_64)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
    constexpr unsigned kClmul = 1U << 1;
    return (c & kClmul) != 0;
#else
    return false;
#endif
}

// The SHA extensions of x86-64, with the SSSE3 and SSE4.1 that the code around them uses.
[[nodiscard]] inline bool has_x86_sha() noexcept {
#if defined(MILLPOND_X86_64)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    constexpr unsigned kSha = 1U << 29;
    return (b & kSha) != 0 && has_aes();
#else
    return false;
#endif
}

}  // namespace millpond::cpu

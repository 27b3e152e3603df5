// What SPDY/3 compresses headers against.
#pragma once

#include <array>
#include <cstddef>

namespace sluice::streaming {

inline constexpr std::size_t kSpdyDictionaryBytes = 1'423;
extern const std::array<unsigned char, kSpdyDictionaryBytes> kSpdyDictionary;

}  // namespace sluice::streaming

#include "control/http/gzip.h"

#include <zlib.h>

#include <limits>

namespace sluice::http {
namespace {

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const auto lower = [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        };
        if (lower(a[i]) != lower(b[i])) return false;
    }
    return true;
}

// "q=0", "q=0.", "q=0.000" are the refusals; anything else counts as acceptance.
bool is_zero_quality(std::string_view parameter) {
    if (parameter.size() < 3 || (parameter[0] != 'q' && parameter[0] != 'Q') ||
        parameter[1] != '=' || parameter[2] != '0') {
        return false;
    }
    return parameter.find_first_not_of("0.", 2) == std::string_view::npos;
}

constexpr int kGzipWindow = 15 + 16;  // 16 asks zlib for the gzip wrapper
constexpr int kMemoryLevel = 8;

}  // namespace

bool accepts_gzip(std::string_view accept_encoding) {
    bool star = false;
    while (!accept_encoding.empty()) {
        const std::size_t comma = accept_encoding.find(',');
        std::string_view item = trim(accept_encoding.substr(0, comma));
        accept_encoding = comma == std::string_view::npos ? std::string_view{}
                                                          : accept_encoding.substr(comma + 1);
        const std::size_t semicolon = item.find(';');
        const bool refused = semicolon != std::string_view::npos &&
                             is_zero_quality(trim(item.substr(semicolon + 1)));
        item = trim(item.substr(0, semicolon));
        if (equals_ignoring_case(item, "gzip")) return !refused;
        if (item == "*") star = !refused;
    }
    return star;
}

Result<std::string> gzip(std::string_view text) {
    if (text.size() > std::numeric_limits<uInt>::max()) {
        return make_error(Code::kOutOfRange, "a body of {} bytes is too large to compress",
                          text.size());
    }
    z_stream stream{};
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return make_error(Code::kResourceExhausted, "no memory to compress a body");
    }
    std::string out;
    out.resize(deflateBound(&stream, static_cast<uLong>(text.size())));
    // zlib's interface is not const-correct; it does not write to its input.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    const int rc = deflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    if (rc != Z_STREAM_END) {
        return make_error(Code::kInternal, "compressing a body failed with zlib code {}", rc);
    }
    return out;
}

}  // namespace sluice::http

// Fuzzes the reader of HTTP/1.1: wherever the bytes are cut, they are the same requests, and refused for the same; a
// body has one length; nothing is above its limit; and a request that is written again is read as the same.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "control/http/request_reader_private.h"

namespace {

using namespace sluice::http;  // NOLINT: the whole program is about it

using Step = RequestReader::Step;
constexpr std::size_t kMaxRequests = 64;

struct Reading {
    std::vector<std::shared_ptr<Request>> requests;
    int refused = 0;  // with this status; 0: more would have been read
    std::string why;
};

bool same(const Request& a, const Request& b) {
    return a.method == b.method && a.target == b.target && a.path == b.path && a.query == b.query &&
           a.headers == b.headers && a.body == b.body;
}

void check(const Request& request, bool http10) {
    SLUICE_ASSERT(!request.method.empty() && request.headers.size() <= kMaxHeaderFields);
    SLUICE_ASSERT(request.body.size() <= kMaxBodyBytes);
    SLUICE_ASSERT(!request.path.empty() && request.path.find('\0') == std::string::npos);
    const auto count = [&](std::string_view name) {
        return std::ranges::count_if(request.headers, [&](const auto& header) { return header.first == name; });
    };
    SLUICE_ASSERT(count("host") == 1 || (http10 && count("host") == 0));
    const bool chunked = count("transfer-encoding") > 0;
    SLUICE_ASSERT(!chunked || (count("transfer-encoding") == 1 && count("content-length") == 0 && !http10));
    SLUICE_ASSERT(chunked || count("content-length") > 0 || request.body.empty());
    for (const auto& [name, value] : request.headers) {
        SLUICE_ASSERT(!name.empty() && name.find_first_of(": \r\n") == std::string::npos);
        SLUICE_ASSERT(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
    }
}

// As another client would have sent it.
void comes_back(const Request& request, bool http10) {
    std::string text = fmt::format("{} {} HTTP/1.{}\r\n", request.method, request.target, http10 ? 0 : 1);
    for (const auto& [name, value] : request.headers) text += name + ": " + value + "\r\n";
    text += "\r\n";
    if (request.header("transfer-encoding").empty()) {
        text += request.body;
    } else {
        if (!request.body.empty()) text += fmt::format("{:x}\r\n{}\r\n", request.body.size(), request.body);
        text += "0\r\n\r\n";
    }
    RequestReader reader;
    RequestReader::Buffer buffer;
    const auto space = buffer.prepare(text.size());
    std::ranges::copy(text, static_cast<char*>(space.data()));
    buffer.commit(text.size());
    reader.begin();
    SLUICE_ASSERT(reader.read_on(&buffer) == Step::kHeader && reader.read_on(&buffer) == Step::kDone);
    SLUICE_ASSERT(buffer.size() == 0 && same(*reader.take(), request));
}

Reading read(std::string_view text, std::size_t piece) {
    Reading out;
    RequestReader reader;
    RequestReader::Buffer buffer;
    reader.begin();
    bool header = false;
    bool http10 = false;
    while (true) {
        const Step step = reader.read_on(&buffer);
        if (step == Step::kMore) {
            if (text.empty()) break;
            const std::size_t size = std::min(piece, text.size());
            const auto space = buffer.prepare(size);
            std::copy_n(text.begin(), size, static_cast<char*>(space.data()));
            buffer.commit(size);
            text.remove_prefix(size);
        } else if (step == Step::kHeader) {
            SLUICE_ASSERT(!header);
            header = true;
            http10 = reader.http10();
        } else if (step == Step::kRefused) {
            const Response& answer = reader.refusal().answer;
            SLUICE_ASSERT(answer.status >= 400 && answer.status <= 501 && !answer.body.empty());
            out.refused = answer.status;
            out.why = answer.body;
            break;
        } else {
            SLUICE_ASSERT(std::exchange(header, false));
            out.requests.push_back(reader.take());
            check(*out.requests.back(), http10);
            comes_back(*out.requests.back(), http10);
            if (out.requests.size() == kMaxRequests) break;
            reader.begin();
        }
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    // The first byte says how much arrives at once.
    const std::string text = std::string(reinterpret_cast<const char*>(data) + 1, size - 1) + "\r\n\r\n";
    const Reading whole = read(text, text.size());
    const Reading cut = read(text, std::size_t{1} + *data % 61);
    SLUICE_ASSERT(whole.requests.size() == cut.requests.size());
    for (std::size_t i = 0; i < whole.requests.size(); ++i) {
        SLUICE_ASSERT(same(*whole.requests[i], *cut.requests[i]));
    }
    // What is wrong with a head that does not end is seen early or late.
    if (whole.refused == 0 || cut.refused == 0) return 0;
    SLUICE_ASSERT(whole.refused == cut.refused && whole.why == cut.why);
    return 0;
}

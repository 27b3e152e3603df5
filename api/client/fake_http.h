// A scripted API server for tests: answers in the order given, and remembers what it was asked.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/client/http.h"

namespace sluice::client {

struct FakeAnswer {
    int status = 200;
    std::string content_type = "application/json";
    std::vector<std::string> chunks;
    Headers headers;
    // How the body ends: in good order, or with this error.
    std::optional<Error> end;
    // Instead of any answer.
    std::optional<Error> unreachable;
};

class FakeStream final : public HttpStream {
public:
    explicit FakeStream(FakeAnswer answer) : answer_(std::move(answer)) {
        head_.status = answer_.status;
        head_.headers = answer_.headers;
        head_.headers.emplace_back("content-type", answer_.content_type);
    }
    [[nodiscard]] const HttpHead& head() const override { return head_; }
    Result<std::size_t> read(char* data, std::size_t size, std::uint32_t) override {
        while (next_ < answer_.chunks.size() && offset_ == answer_.chunks[next_].size()) {
            ++next_;
            offset_ = 0;
        }
        if (next_ == answer_.chunks.size()) {
            if (answer_.end) return *answer_.end;
            return std::size_t{0};
        }
        const std::string& chunk = answer_.chunks[next_];
        const std::size_t count = std::min(size, chunk.size() - offset_);
        std::memcpy(data, chunk.data() + offset_, count);
        offset_ += count;
        return count;
    }

private:
    FakeAnswer answer_;
    HttpHead head_;
    std::size_t next_ = 0;
    std::size_t offset_ = 0;
};

class FakeHttp final : public HttpClient {
public:
    // Once the script is used up the fake asks to stop, by this.
    std::function<void()> exhausted = [] {};
    std::deque<FakeAnswer> script;
    std::vector<std::string> targets;
    std::vector<HttpRequest> requests;

    Result<std::unique_ptr<HttpStream>> stream(const HttpRequest& request,
                                               std::stop_token) override {
        targets.push_back(request.target);
        requests.push_back(request);
        if (script.empty()) {
            exhausted();
            return make_error(Code::kCancelled, "the script is used up");
        }
        FakeAnswer answer = std::move(script.front());
        script.pop_front();
        if (answer.unreachable) return *answer.unreachable;
        return std::unique_ptr<HttpStream>(std::make_unique<FakeStream>(std::move(answer)));
    }
    Result<HttpResponse> request(const HttpRequest& request, std::stop_token stop) override {
        SLUICE_TRY_ASSIGN(auto answer, stream(request, std::move(stop)));
        HttpResponse response{answer->head(), ""};
        std::string chunk(65'536, '\0');
        while (true) {
            SLUICE_TRY_ASSIGN(const std::size_t got, answer->read(chunk.data(), chunk.size(), 1));
            if (got == 0) return response;
            response.body.append(chunk, 0, got);
        }
    }
    [[nodiscard]] const ClientConfig& config() const override { return config_; }

private:
    ClientConfig config_;
};

}  // namespace sluice::client

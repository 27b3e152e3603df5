#include "control/http/client.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>

#include "control/http/answer_head.h"
#include "control/http/exchange.h"

namespace sluice::http {
namespace {

using Clock = std::chrono::steady_clock;

// What connections are alike in that may serve each other's requests.
struct Server {
    std::string where;  // address or host, port, and the name that was verified
    std::shared_ptr<const ClientTls> tls;
    auto operator<=>(const Server&) const = default;
};

Server server_of(const DialRequest& request) {
    return {fmt::format("{}|{}|{}|{}", request.address, request.host, request.port, request.server_name),
            request.tls};
}

// What calls share, which may outlive the client.
class Shared {
public:
    std::shared_ptr<ByteStream> take(const Server& server) {
        const std::lock_guard lock(mutex_);
        drop_old();
        const auto found = idle_.find(server);
        if (found == idle_.end()) return nullptr;
        auto stream = std::move(found->second.back().stream);
        found->second.pop_back();
        --count_;
        if (found->second.empty()) idle_.erase(found);
        reused.fetch_add(1, std::memory_order_relaxed);
        return stream;
    }
    void keep(const Server& server, std::shared_ptr<ByteStream> stream) {
        const std::lock_guard lock(mutex_);
        drop_old();
        if (closed_ || count_ >= kMaxIdleConnections) return;
        auto& streams = idle_[server];
        if (streams.size() >= kMaxIdlePerServer) return;
        streams.push_back({std::move(stream), Clock::now()});
        ++count_;
    }
    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        idle_.clear();
        count_ = 0;
    }
    [[nodiscard]] std::size_t idle() const {
        const std::lock_guard lock(mutex_);
        return count_;
    }

    std::atomic<std::size_t> under_way{0};
    std::atomic<std::uint64_t> dialed{0};
    std::atomic<std::uint64_t> reused{0};

private:
    struct Idle {
        std::shared_ptr<ByteStream> stream;
        Clock::time_point since;
    };
    void drop_old() {
        const auto oldest = Clock::now() - std::chrono::milliseconds(kMaxIdleMs);
        for (auto at = idle_.begin(); at != idle_.end();) {
            auto& streams = at->second;
            while (!streams.empty() && streams.front().since < oldest) {
                streams.pop_front();
                --count_;
            }
            at = streams.empty() ? idle_.erase(at) : std::next(at);
        }
    }

    mutable std::mutex mutex_;
    std::map<Server, std::deque<Idle>> idle_;
    std::size_t count_ = 0;
    bool closed_ = false;
};

// From a request to the whole answer. Its callbacks come one after another, on a thread of the dialer.
class Exchange : public std::enable_shared_from_this<Exchange> {
public:
    Exchange(std::shared_ptr<Shared> shared, Dialer& dialer, DialRequest request, std::string text)
        : shared_(std::move(shared)), dialer_(dialer), server_(server_of(request)), request_(std::move(request)),
          text_(std::move(text)) {
        method_ = std::exchange(request_.method, {});
    }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    void begin() {
        auto kept = shared_->take(server_);
        reused_ = kept != nullptr;
        if (reused_) return use(std::move(kept));
        dial();
    }

    Result<ClientAnswer> wait(Clock::time_point deadline) {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_until(lock, deadline, [this] { return result_.has_value(); })) {
            return make_error(Code::kDeadlineExceeded, "context deadline exceeded");
        }
        return std::move(*result_);
    }

    [[nodiscard]] bool over() const {
        const std::lock_guard lock(mutex_);
        return result_.has_value();
    }

    // Nobody waits any more.
    void abandon() {
        std::shared_ptr<ByteStream> stream;
        {
            const std::lock_guard lock(mutex_);
            abandoned_ = true;
            stream = std::exchange(stream_, nullptr);
        }
        if (stream != nullptr) stream->close();
    }

private:
    void dial() {
        shared_->dialed.fetch_add(1, std::memory_order_relaxed);
        dialer_.dial(request_, [self = shared_from_this()](Result<DialAnswer> connected) {
            if (!connected) return self->finish(connected.error());
            self->use(std::move(connected->stream));
        });
    }

    void use(std::shared_ptr<ByteStream> stream) {
        {
            const std::lock_guard lock(mutex_);
            if (abandoned_) return;
            stream_ = stream;
        }
        stream->write(text_);
        read(stream);
    }

    void read(const std::shared_ptr<ByteStream>& stream) {
        // The stream is not kept alive by what it calls.
        stream->read([self = shared_from_this(), weak = std::weak_ptr(stream)](Result<std::string> bytes) {
            const auto live = weak.lock();
            if (!bytes) return self->lost(bytes.error());
            if (live == nullptr) return self->lost(make_error(Code::kUnavailable, "the connection was closed"));
            if (bytes->empty()) return self->ended();
            self->fed(live, *bytes);
        });
    }

    void lost(Error error) {
        // A server may close a connection at any time that nobody uses it, and mostly has not seen the request then. It
        // may have: who is asked by this must bear to be asked twice, as webhooks must.
        if (reused_ && !answered_) {
            reused_ = false;
            {
                const std::lock_guard lock(mutex_);
                if (abandoned_) return;
                stream_ = nullptr;
            }
            return dial();
        }
        finish(std::move(error));
    }

    void ended() {
        if (decoder_ && decoder_->may_end()) return finish_answer(nullptr);
        lost(make_error(Code::kUnavailable, "EOF"));
    }

    void fed(const std::shared_ptr<ByteStream>& stream, std::string_view bytes) {
        answered_ = true;
        if (!decoder_) {
            head_ += bytes;
            if (!read_head()) return;
            if (!decoder_) return read(stream);
        } else if (const auto fed = decoder_->feed(bytes, &answer_.body); !fed) {
            return finish(fed.error());
        }
        if (answer_.body.size() > kMaxClientBodyBytes) {
            return finish(make_error(Code::kResourceExhausted, "the answer is above {} bytes", kMaxClientBodyBytes));
        }
        if (decoder_->done()) return finish_answer(stream);
        read(stream);
    }

    // False: the call is over.
    bool read_head() {
        while (true) {
            const std::size_t end = head_.find("\r\n\r\n");
            if (end == std::string::npos) {
                if (head_.size() <= kMaxAnswerHeadBytes) return true;
                finish(make_error(Code::kDataLoss, "the answer's header is above {} bytes", kMaxAnswerHeadBytes));
                return false;
            }
            auto head = parse_answer_head(std::string_view(head_).substr(0, end));
            if (!head) {
                finish(head.error());
                return false;
            }
            const std::string early = head_.substr(end + 4);
            if (head->status == 100) {
                head_ = early;
                continue;
            }
            auto decoder = answer_decoder(*head, method_);
            if (!decoder) {
                finish(decoder.error());
                return false;
            }
            reusable_ = lower_case(head->header("connection")).find("close") == std::string::npos;
            answer_.status = head->status;
            answer_.headers = std::move(head->headers);
            decoder_.emplace(std::move(*decoder));
            if (const auto fed = decoder_->feed(early, &answer_.body); !fed) {
                finish(fed.error());
                return false;
            }
            return true;
        }
    }

    void finish_answer(const std::shared_ptr<ByteStream>& stream) {
        if (stream != nullptr && reusable_) {
            bool wanted = false;
            {
                const std::lock_guard lock(mutex_);
                wanted = !abandoned_;
                stream_ = nullptr;
            }
            if (wanted) shared_->keep(server_, stream);
        }
        answer_.finished = Clock::now();
        finish(std::move(answer_));
    }

    void finish(Result<ClientAnswer> result) {
        std::shared_ptr<ByteStream> stream;
        {
            const std::lock_guard lock(mutex_);
            if (!result_) result_.emplace(std::move(result));
            stream = std::exchange(stream_, nullptr);
        }
        changed_.notify_all();
        if (stream != nullptr) stream->close();
    }

    const std::shared_ptr<Shared> shared_;
    Dialer& dialer_;
    const Server server_;
    DialRequest request_;  // its method is empty: a bare connection
    const std::string text_;
    std::string method_;
    bool reused_ = false;
    bool answered_ = false;
    bool reusable_ = false;
    std::string head_;
    std::optional<BodyDecoder> decoder_;
    ClientAnswer answer_;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<ByteStream> stream_;
    std::optional<Result<ClientAnswer>> result_;
    bool abandoned_ = false;
};

class HeldCall final : public Client::Call {
public:
    HeldCall(std::shared_ptr<Shared> shared, std::shared_ptr<Exchange> exchange)
        : shared_(std::move(shared)), exchange_(std::move(exchange)) {
        shared_->under_way.fetch_add(1, std::memory_order_relaxed);
    }
    ~HeldCall() override {
        exchange_->abandon();
        shared_->under_way.fetch_sub(1, std::memory_order_relaxed);
    }
    HeldCall(const HeldCall&) = delete;
    HeldCall& operator=(const HeldCall&) = delete;
    Result<ClientAnswer> wait(Clock::time_point deadline) override { return exchange_->wait(deadline); }
    [[nodiscard]] bool over() const override { return exchange_->over(); }

private:
    const std::shared_ptr<Shared> shared_;
    const std::shared_ptr<Exchange> exchange_;
};

class PoolingClient final : public Client {
public:
    explicit PoolingClient(int threads) : dialer_(Dialer::create(threads)) {}
    ~PoolingClient() override { shared_->close(); }
    PoolingClient(const PoolingClient&) = delete;
    PoolingClient& operator=(const PoolingClient&) = delete;

    std::unique_ptr<Call> start(DialRequest request, std::string host_header, std::string body) override {
        request.headers.emplace(request.headers.begin(), "Content-Length", std::to_string(body.size()));
        std::string text = request_head(request, host_header) + body;
        const auto exchange =
            std::make_shared<Exchange>(shared_, *dialer_, std::move(request), std::move(text));
        exchange->begin();
        return std::make_unique<HeldCall>(shared_, exchange);
    }
    [[nodiscard]] ClientStats stats() const override {
        return {shared_->under_way.load(std::memory_order_relaxed), shared_->idle(),
                shared_->dialed.load(std::memory_order_relaxed), shared_->reused.load(std::memory_order_relaxed)};
    }

private:
    const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
    // Before the streams that are kept, whose end it is.
    const std::unique_ptr<Dialer> dialer_;
};

}  // namespace

std::unique_ptr<Client> Client::create(int threads) { return std::make_unique<PoolingClient>(threads); }

}  // namespace sluice::http

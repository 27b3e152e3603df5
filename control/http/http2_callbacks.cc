#include "control/http/http2_callbacks_private.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "control/http/exchange.h"
#include "control/http/loop_private.h"

namespace sluice::http {

// All static members have the signatures that nghttp2 asks for. They are called from inside nghttp2_session_mem_recv
// and _mem_send only, on the loop's thread.
struct Http2Callbacks {
    static Http2Session& session_of(void* owner) { return *static_cast<Http2Session*>(owner); }
    static std::string_view view(const std::uint8_t* bytes, std::size_t size) {
        return {reinterpret_cast<const char*>(bytes), size};
    }

    static bool is_request(const nghttp2_frame* frame) {
        return frame->hd.type == NGHTTP2_HEADERS &&
               frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    }

    static int on_begin_headers(nghttp2_session* /*session*/, const nghttp2_frame* frame,
                                void* owner) {
        Http2Session& self = session_of(owner);
        self.header_deadline_ =
            self.now_ + std::chrono::milliseconds(self.shared_->timeouts.header_ms);
        self.header_stream_ = frame->hd.stream_id;
        if (!is_request(frame)) return 0;
        auto stream = std::make_unique<Http2Stream>(frame->hd.stream_id, self.ready_);
        stream->request = std::make_shared<Request>();
        self.streams_[frame->hd.stream_id] = std::move(stream);
        return 0;
    }

    static int on_header(nghttp2_session* /*session*/, const nghttp2_frame* frame,
                         const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value,
                         std::size_t value_size, std::uint8_t /*flags*/, void* owner) {
        Http2Session& self = session_of(owner);
        if (!is_request(frame)) return 0;  // trailers say nothing to anybody here
        if (Http2Stream* stream = self.find(frame->hd.stream_id)) {
            self.take_field(stream, view(name, name_size), view(value, value_size));
        }
        return 0;
    }

    static int on_data(nghttp2_session* /*session*/, std::uint8_t /*flags*/, std::int32_t id,
                       const std::uint8_t* bytes, std::size_t size, void* owner) {
        Http2Session& self = session_of(owner);
        if (Http2Stream* stream = self.find(id)) self.take_body(stream, view(bytes, size));
        return 0;
    }

    static int on_frame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* owner) {
        Http2Session& self = session_of(owner);
        const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        Http2Stream* stream = self.find(frame->hd.stream_id);
        switch (frame->hd.type) {
            case NGHTTP2_HEADERS:
                self.header_deadline_ = Peer::Clock::time_point::max();
                if (stream == nullptr) break;
                stream->request_complete = stream->request_complete || ends;
                if (is_request(frame)) self.accept_header(stream);
                if (ends) self.complete(stream);
                break;
            case NGHTTP2_DATA:
                if (stream != nullptr && ends) {
                    self.complete(stream);
                } else if (!ends && frame->hd.length == 0) {
                    count_control(self);
                }
                break;
            case NGHTTP2_RST_STREAM:
                self.shared_->counters.client_resets.fetch_add(1, std::memory_order_relaxed);
                if (!self.resets_.take(self.now_)) self.flooded("resets");
                break;
            case NGHTTP2_SETTINGS:
                // The first frame of every client: the connection has begun.
                if (self.streams_.empty()) {
                    self.header_deadline_ = Peer::Clock::time_point::max();
                }
                count_control(self);
                break;
            case NGHTTP2_PING:
            case NGHTTP2_PRIORITY:
                count_control(self);
                break;
            default:
                break;
        }
        return 0;
    }

    static void count_control(Http2Session& self) {
        if (!self.control_frames_.take(self.now_)) self.flooded("control frames");
    }

    // An answer that came before the end of its request: the client need not send the rest.
    static int on_sent(nghttp2_session* session, const nghttp2_frame* frame, void* owner) {
        const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        const bool of_answer =
            frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
        if (!ends || !of_answer) return 0;
        const Http2Stream* stream = session_of(owner).find(frame->hd.stream_id);
        if (stream != nullptr && !stream->request_complete) {
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
        }
        return 0;
    }

    static int on_close(nghttp2_session* /*session*/, std::int32_t id, std::uint32_t /*error*/,
                        void* owner) {
        Http2Session& self = session_of(owner);
        self.closed_.push_back(id);
        // A header that is refused for its form never becomes a frame.
        if (id == self.header_stream_) self.header_deadline_ = Peer::Clock::time_point::max();
        return 0;
    }

    static ssize_t read_data(nghttp2_session* /*session*/, std::int32_t id,
                                   std::uint8_t* buffer, std::size_t length, std::uint32_t* flags,
                                   nghttp2_data_source* /*source*/, void* owner) {
        Http2Session& self = session_of(owner);
        Http2Stream* stream = self.find(id);
        if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        const std::size_t size = std::min(length, stream->data.size() - stream->offset);
        std::memcpy(buffer, stream->data.data() + stream->offset, size);
        stream->offset += size;
        if (stream->offset < stream->data.size()) return static_cast<ssize_t>(size);
        stream->data = {};
        stream->offset = 0;
        if (stream->last) {
            *flags |= NGHTTP2_DATA_FLAG_EOF;
            return static_cast<ssize_t>(size);
        }
        self.exhausted_.push_back(id);
        if (size > 0) return static_cast<ssize_t>(size);
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
};

nghttp2_session* new_server_session(Http2Session* owner) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_option* option = nullptr;
    nghttp2_session* session = nullptr;
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0) {
        throw std::bad_alloc();
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks,
                                                            Http2Callbacks::on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, Http2Callbacks::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Http2Callbacks::on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Http2Callbacks::on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Http2Callbacks::on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Http2Callbacks::on_close);
    // Closed streams are not remembered for the sake of priorities, which nobody asks for.
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_continuations(option, kMaxContinuations);
    // Behind the limit kept here, which is the one that is counted.
    nghttp2_option_set_stream_reset_rate_limit(option, 4 * kResetBurst, 4 * kResetsPerSecond);
    const int failed = nghttp2_session_server_new2(&session, callbacks, owner, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (failed != 0) throw std::bad_alloc();
    return session;
}

nghttp2_nv header_field(std::string_view name, std::string_view value) {
    // nghttp2's interface is not const-correct; it does not write to these.
    const auto bytes = [](std::string_view text) {
        return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
    };
    return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

nghttp2_data_provider data_provider(Http2Stream* stream) {
    nghttp2_data_provider provider{};
    provider.source.ptr = stream;
    provider.read_callback = Http2Callbacks::read_data;
    return provider;
}

}  // namespace sluice::http

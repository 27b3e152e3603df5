#include "control/http/test_http2_client.h"

#include <algorithm>
#include <cstring>

namespace sluice::http::testing {
namespace {

std::string text(const std::uint8_t* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
}

nghttp2_nv field(const std::string& name, const std::string& value) {
    const auto bytes = [](const std::string& from) {
        return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(from.data()));
    };
    return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

ssize_t read_body(nghttp2_session* /*session*/, std::int32_t /*id*/, std::uint8_t* buffer,
                  std::size_t length, std::uint32_t* flags, nghttp2_data_source* source,
                  void* /*client*/) {
    auto* stream = static_cast<Http2Client::Stream*>(source->ptr);
    const std::size_t size = std::min(length, stream->body.size());
    std::memcpy(buffer, stream->body.data(), size);
    stream->body.erase(0, size);
    if (stream->body.empty()) {
        if (!stream->body_ends && size == 0) return NGHTTP2_ERR_DEFERRED;
        if (stream->body_ends) *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return static_cast<ssize_t>(size);
}

}  // namespace

nghttp2_session_callbacks* Http2Client::callbacks() {
    nghttp2_session_callbacks* out = nullptr;
    nghttp2_session_callbacks_new(&out);
    nghttp2_session_callbacks_set_on_header_callback(
        out, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                std::uint8_t, void* client) {
            Reply& reply = static_cast<Http2Client*>(client)->streams_[frame->hd.stream_id].reply;
            const std::string key = text(name, name_size);
            if (key == ":status") {
                reply.status = std::stoi(text(value, value_size));
            } else {
                reply.headers[key] = text(value, value_size);
            }
            return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        out, [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                std::size_t size, void* client) {
            static_cast<Http2Client*>(client)->streams_[id].reply.body += text(bytes, size);
            return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        out, [](nghttp2_session*, const nghttp2_frame* frame, void* client) {
            auto* self = static_cast<Http2Client*>(client);
            if (frame->hd.type == NGHTTP2_GOAWAY) self->goaway_ = frame->goaway.error_code;
            const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
            if (ends && frame->hd.type <= NGHTTP2_HEADERS) {
                self->streams_[frame->hd.stream_id].reply.complete = true;
            }
            return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        out, [](nghttp2_session*, std::int32_t id, std::uint32_t error, void* client) {
            Stream& stream = static_cast<Http2Client*>(client)->streams_[id];
            stream.closed = true;
            stream.error = error;
            return 0;
        });
    return out;
}

std::unique_ptr<Http2Client> Http2Client::connect(std::uint16_t port, const Options& options) {
    std::unique_ptr<Http2Client> client(new Http2Client());
    TlsClient::Options tls = options.tls;
    tls.alpn = std::string("\x02h2");
    client->tls_ = TlsClient::connect(port, tls);
    if (!client->tls_ || client->tls_->alpn() != "h2") return nullptr;
    nghttp2_session_callbacks* calls = callbacks();
    nghttp2_session_client_new(&client->session_, calls, client.get());
    nghttp2_session_callbacks_del(calls);
    if (options.greets) {
        const nghttp2_settings_entry window{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.window};
        nghttp2_submit_settings(client->session_, NGHTTP2_FLAG_NONE, &window, 1);
        nghttp2_session_set_local_window_size(client->session_, NGHTTP2_FLAG_NONE, 0, 1 << 30);
        client->flush();
    }
    return client;
}

Http2Client::~Http2Client() { nghttp2_session_del(session_); }

std::int32_t Http2Client::request(const std::string& method, const std::string& target,
                                  const Headers& headers, const std::string& body, bool ends) {
    Headers all = {{":method", method}, {":scheme", "https"}, {":authority", "h"},
                   {":path", target}};
    all.insert(all.end(), headers.begin(), headers.end());
    std::vector<nghttp2_nv> fields;
    fields.reserve(all.size());
    for (const auto& [name, value] : all) fields.push_back(field(name, value));
    const auto id = static_cast<std::int32_t>(nghttp2_session_get_next_stream_id(session_));
    Stream& stream = streams_[id];
    stream.body = body;
    stream.body_ends = ends;
    nghttp2_data_provider provider{};
    provider.source.ptr = &stream;
    provider.read_callback = read_body;
    const bool has_body = !body.empty() || !ends;
    return nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(),
                                  has_body ? &provider : nullptr, nullptr);
}

void Http2Client::reset(std::int32_t id, std::uint32_t error) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, error);
}

void Http2Client::ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }

void Http2Client::flush() {
    while (true) {
        const std::uint8_t* bytes = nullptr;
        const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
        if (size <= 0 || !tls_->send(text(bytes, static_cast<std::size_t>(size)))) return;
    }
}

bool Http2Client::pump_until(const std::function<bool()>& condition) {
    while (true) {
        flush();
        if (condition()) return true;
        const std::string bytes = tls_->receive();
        if (bytes.empty()) {
            ended_ = true;
            return condition();
        }
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                 bytes.size());
    }
}

const Http2Client::Stream& Http2Client::wait(std::int32_t id) {
    pump_until([&] { return streams_[id].closed || streams_[id].reply.complete; });
    return streams_[id];
}

std::uint32_t Http2Client::peer_setting(int id) const {
    return nghttp2_session_get_remote_settings(session_, static_cast<nghttp2_settings_id>(id));
}

}  // namespace sluice::http::testing

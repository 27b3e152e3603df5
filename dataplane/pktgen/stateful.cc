// Client and server halves of TCP on a port: frames around TcpClient and answer_segment.
#include <rte_cycles.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "dataplane/pktgen/task_private.h"

namespace sluice::pktgen {
namespace {

constexpr int kMaxBursts = 4;
constexpr std::size_t kMaxOpens = 32;        // a turn
constexpr std::size_t kMaxExpired = 64;      // a turn
constexpr int kMaxTries = 8;                 // to find a flow that is free
constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

class Stateful final : public Task {
public:
    Stateful(const StatefulPlan& plan, const Profile& profile, const FlowSpace& flows,
             std::unique_ptr<TcpClient> client)
        : Task(*plan.send.port, plan.send.queue, plan.send.pool),
          plan_(plan),
          flows_(flows),
          frames_(profile, flows,
                  {profile.source_mac.empty() ? plan.send.port->mac : *parse_mac(profile.source_mac),
                   plan.send.destination, plan.send.run, false}),
          server_{profile.ttl, profile.seed},
          client_(std::move(client)),
          chooser_(profile, plan.flows, plan.send.index, 1),
          sizes_(profile, plan.send.index),
          pacer_(0, 1, 1, 0),
          ns_per_tick_(1e9 / static_cast<double>(rte_get_tsc_hz())),
          quota_(plan.connections == 0 ? kUnlimited : plan.connections),
          spare_(static_cast<std::uint32_t>(plan.flows)) {}

    void step(const Control& control) override {
        const std::uint64_t now = rte_rdtsc();
        const std::uint64_t now_ns = nanoseconds(now);
        const std::uint32_t sample = control.sample.load(std::memory_order_relaxed);
        if (sample != published_sample()) {
            turn();
            publish(sample);
        }
        deliver_mail();
        control_ = &control;
        const Phase phase = control.phase.load(std::memory_order_acquire);
        if (phase != phase_) {
            begin(phase, control.phase_at.load(std::memory_order_relaxed));
        }
        for (std::uint16_t queue = 0; queue < port_.receive_queues; ++queue) {
            for (int i = 0; i < kMaxBursts && read_burst(queue, now_ns); ++i) {
            }
        }
        if (client_ == nullptr || phase == Phase::kReady) {
            return;
        }
        client_->expire(now_ns, kMaxExpired, segments_);
        if (phase == Phase::kWarmup || phase == Phase::kCounted) {
            open(now, now_ns);
        }
        send_segments();
        if (quota_ == 0 && client_->open_count() == 0) {
            done_.store(true, std::memory_order_relaxed);
        }
    }

    void finish() override {
        if (phase_ == Phase::kCounted) {
            begin(Phase::kDrain, control_->phase_at.load(std::memory_order_relaxed));
        }
        if (client_ != nullptr) {
            client_->abandon();
            turn();
        }
    }
    [[nodiscard]] bool done() const override {
        return client_ == nullptr || done_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] bool publishes() const override { return client_ != nullptr; }
    [[nodiscard]] StatefulView view() const { return {&counts_, &base_, client_.get(), &connect_ns_}; }

private:
    [[nodiscard]] std::uint64_t nanoseconds(std::uint64_t ticks) const {
        return static_cast<std::uint64_t>(static_cast<double>(ticks) * ns_per_tick_);
    }

    void turn() {
        if (client_ != nullptr) {
            published_ = client_->connect_times();
            connect_ns_.add(published_);
            client_->connect_times().clear();
        }
    }

    // What the warm-up opened is not to end among the counted connections.
    void begin(Phase phase, std::uint64_t now) {
        if (phase_ == Phase::kCounted) {
            count_behind(quota_ != 0 ? pacer_.missed_by(now) : pacer_.given_up());
        }
        if (phase == Phase::kWarmup || phase == Phase::kCounted) {
            pacer_ = Pacer(plan_.connections_per_second, 1, rte_get_tsc_hz(), now);
        }
        if (phase == Phase::kCounted) {
            if (client_ != nullptr) {
                client_->abandon();
                client_->connect_times().clear();
                connect_ns_.clear();
                const TcpClientCounts& client = client_->counts();
                base_.opened.add(client.opened.get());
                base_.established.add(client.established.get());
                base_.closed.add(client.closed.get());
                base_.timed_out.add(client.timed_out.get());
                base_.reset.add(client.reset.get());
                base_.retransmitted.add(client.retransmitted.get());
            }
            base_.sent.add(counts_.sent.get());
            base_.sent_bytes.add(counts_.sent_bytes.get());
            base_.received.add(counts_.received.get());
            base_.received_bytes.add(counts_.received_bytes.get());
            base_.corrupted.add(counts_.corrupted.get());
            base_.foreign.add(counts_.foreign.get());
        }
        phase_ = phase;
    }

    void count_behind(double connections) {
        const auto behind = static_cast<std::uint64_t>(connections);
        counts_.behind.add(behind - std::min(behind, counts_.behind.get()));
    }

    void open(std::uint64_t now, std::uint64_t now_ns) {
        const bool counted = phase_ == Phase::kCounted;
        if (counted && quota_ == 0) {
            return;
        }
        pacer_.poll(now);
        if (counted) {
            count_behind(pacer_.given_up());
        }
        for (std::size_t i = 0; i < kMaxOpens && (!counted || quota_ != 0); ++i) {
            const std::uint32_t connection = find_free();
            if (connection == plan_.flows) {
                return;  // stays due; given up if none is free for long
            }
            if (!pacer_.take(1)) {
                spare_ = connection;
                return;
            }
            spare_ = static_cast<std::uint32_t>(plan_.flows);
            client_->open(connection, sizes_.next(), now_ns, segments_);
            quota_ -= counted && quota_ != kUnlimited ? 1 : 0;
        }
    }

    // plan_.flows: none was found. What was found and not used is the next one.
    std::uint32_t find_free() {
        if (spare_ != plan_.flows && client_->free(spare_)) {
            return spare_;
        }
        for (int i = 0; i < kMaxTries; ++i) {
            const auto connection = static_cast<std::uint32_t>(chooser_.next());
            if (client_->free(connection)) {
                return connection;
            }
        }
        return static_cast<std::uint32_t>(plan_.flows);
    }

    bool read_burst(std::uint16_t queue, std::uint64_t now_ns) {
        rte_mbuf* mbufs[kBurst];
        rte_mbuf* answers[kBurst];
        const std::uint16_t count = rte_eth_rx_burst(port_.id, queue, mbufs, kBurst);
        std::uint16_t answered = 0;
        std::uint64_t bytes = 0;
        for (std::uint16_t i = 0; i < count; ++i) {
            bytes += mbufs[i]->pkt_len + kChecksumBytes;
            if (mbufs[i]->nb_segs == 1 && take(mbufs[i], now_ns)) {
                answers[answered++] = mbufs[i];
            } else {
                rte_pktmbuf_free(mbufs[i]);
            }
        }
        tally_.received.add(count);
        tally_.received_bytes.add(bytes);
        if (answered != 0) {
            send_counted(answers, answered);
        }
        return count == kBurst;
    }

    // True: the buffer now holds the server's answer.
    bool take(rte_mbuf* mbuf, std::uint64_t now_ns) {
        auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        const FrameView view = view_frame(frame, mbuf->data_len);
        if ((view.kind == FrameKind::kArp || view.kind == FrameKind::kIcmpv6) &&
            answer_neighbour(view, plan_.owned)) {
            return false;
        }
        if (view.kind != FrameKind::kTcp || view.v6 != flows_.v6()) {
            counts_.foreign.add(1);
            return false;
        }
        if (client_ != nullptr && take_as_client(view, mbuf->data_len, now_ns)) {
            return false;
        }
        if (!plan_.server) {
            counts_.foreign.add(1);
            return false;
        }
        const std::uint32_t before = mbuf->data_len;
        const ServerAnswer answer = answer_segment(server_, view, frame);
        if (answer.verdict == ServerVerdict::kCorrupted) {
            counts_.corrupted.add(1);
            return false;
        }
        count_received(before);
        if (answer.verdict == ServerVerdict::kNothing) {
            return false;
        }
        if (answer.offset != 0) {
            rte_pktmbuf_adj(mbuf, static_cast<std::uint16_t>(answer.offset));
        }
        const std::size_t bytes = std::max(answer.bytes, kMinFrame - kChecksumBytes);
        const auto room = static_cast<std::size_t>(mbuf->buf_len - mbuf->data_off);
        if (bytes > answer.bytes && bytes <= room) {
            std::memset(rte_pktmbuf_mtod(mbuf, std::uint8_t*) + answer.bytes, 0, bytes - answer.bytes);
        }
        // Only a buffer that was lent to us could be too small for padding; it goes without.
        const std::size_t padded = std::min(std::max(answer.bytes, bytes), room);
        mbuf->data_len = static_cast<std::uint16_t>(padded);
        mbuf->pkt_len = static_cast<std::uint32_t>(padded);
        mbuf->ol_flags = 0;
        return true;
    }

    bool take_as_client(const FrameView& view, std::uint32_t bytes, std::uint64_t now_ns) {
        FlowTuple tuple = view.tuple();
        std::swap(tuple.source, tuple.destination);
        std::swap(tuple.source_port, tuple.destination_port);
        const auto flow = flows_.find(tuple);
        if (!flow || *flow < plan_.first_flow || *flow >= plan_.first_flow + plan_.flows) {
            return false;
        }
        if (!view.checksum_good()) {
            counts_.corrupted.add(1);
            return true;
        }
        count_received(bytes);
        TcpSegment segment;
        segment.connection = static_cast<std::uint32_t>(*flow - plan_.first_flow);
        segment.sequence = view.tcp_sequence();
        segment.acknowledged = view.tcp_acknowledged();
        segment.payload_bytes = view.payload_bytes;
        segment.flags = view.tcp_flags();
        client_->take(segment, now_ns, segments_);
        return true;
    }

    void count_received(std::uint32_t bytes) {
        counts_.received.add(1);
        counts_.received_bytes.add(bytes + kChecksumBytes);
    }

    void send_segments() {
        rte_mbuf* mbufs[kBurst];
        std::uint16_t count = 0;
        for (const TcpSegment& segment : segments_) {
            rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
            if (mbuf == nullptr) {
                tally_.starved.add(1);  // lost like any other; the client sends it again
                break;
            }
            auto* out = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
            const Segment shape = segment.flags == kTcpSyn        ? Segment::kSyn
                                  : segment.payload_bytes != 0    ? Segment::kData
                                                                  : Segment::kBare;
            BuiltFrame built = frames_.build(out, plan_.first_flow + segment.connection, segment.size, shape);
            Frames::set_tcp(out, built, segment.sequence, segment.acknowledged);
            Frames::set_tcp_flags(out, built, segment.flags);
            Frames::finish(out, built);
            mbuf->data_len = static_cast<std::uint16_t>(built.bytes);
            mbuf->pkt_len = built.bytes;
            mbufs[count++] = mbuf;
            if (count == kBurst) {
                send_counted(mbufs, count);
                count = 0;
            }
        }
        segments_.clear();
        if (count != 0) {
            send_counted(mbufs, count);
        }
    }

    void send_counted(rte_mbuf** mbufs, std::uint16_t count) {
        const std::uint64_t sent = tally_.sent.get();
        const std::uint64_t bytes = tally_.sent_bytes.get();
        send_or_drop(mbufs, count);
        counts_.sent.add(tally_.sent.get() - sent);
        counts_.sent_bytes.add(tally_.sent_bytes.get() - bytes);
    }

    StatefulPlan plan_;
    const FlowSpace& flows_;
    Frames frames_;
    TcpServerOptions server_;
    std::unique_ptr<TcpClient> client_;
    FlowChooser chooser_;
    SizeChooser sizes_;
    Pacer pacer_;
    double ns_per_tick_;
    std::uint64_t quota_;
    std::uint32_t spare_;  // a free connection that was found and not used; plan_.flows: none
    std::atomic<bool> done_{false};
    const Control* control_ = nullptr;
    Phase phase_ = Phase::kReady;
    StatefulCounts counts_;
    StatefulBase base_;
    Histogram connect_ns_;
    std::vector<TcpSegment> segments_;
};

}  // namespace

Result<std::unique_ptr<Task>> make_stateful(const StatefulPlan& plan, const Profile& profile,
                                            const FlowSpace& flows, StatefulView& view) {
    std::unique_ptr<TcpClient> client;
    Profile unprobed = profile;  // connections know their segments by themselves
    unprobed.probe = false;
    if (plan.client) {
        TcpClientOptions options;
        options.connections = plan.flows;
        options.data_packets = profile.data_packets;
        options.seed = profile.seed + plan.send.index;
        const Frames frames(unprobed, flows, {});
        for (std::uint32_t size = 0; size < profile.sizes.size(); ++size) {
            options.payload_bytes.push_back(frames.payload_bytes(size));
        }
        SLUICE_TRY_ASSIGN(client, TcpClient::make(options));
    }
    auto out = std::make_unique<Stateful>(plan, unprobed, flows, std::move(client));
    view = out->view();
    return std::unique_ptr<Task>(std::move(out));
}

}  // namespace sluice::pktgen

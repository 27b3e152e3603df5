#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <future>

#include "api/base/log.h"
#include "dataplane/dpdk/runtime/control_loop_internal.h"

namespace sluice::dpdk {
namespace {

constexpr char kComponent[] = "dpdk";
constexpr int kLongestSleepMs = 1000;
constexpr std::size_t kMaxEvents = 8;

Milliseconds monotonic() {
    return std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now().time_since_epoch());
}

void clear_event(int fd) {
    std::uint64_t count = 0;
    static_cast<void>(!read(fd, &count, sizeof(count)));
}

Result<void> watch(const Fd& poll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd, &event) != 0) return errno_error(errno, "watching a descriptor");
    return {};
}

}  // namespace

ControlLoop::ControlLoop(Setup setup) : setup_(std::move(setup)) {}

Result<std::unique_ptr<ControlLoop>> ControlLoop::start(Setup setup) {
    std::unique_ptr<ControlLoop> out(new ControlLoop(std::move(setup)));
    SLUICE_TRY(out->open());
    out->thread_ = std::jthread([self = out.get()](const std::stop_token& stop) { self->run(stop); });
    return out;
}

ControlLoop::~ControlLoop() {
    thread_.request_stop();
    const std::uint64_t one = 1;
    static_cast<void>(!write(wake_.get(), &one, sizeof(one)));
    if (thread_.joinable()) thread_.join();
}

Result<void> ControlLoop::open() {
    poll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
    wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : setup_.signals) sigaddset(&signals, signal);
    signals_ = Fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!poll_ || !wake_ || !signals_) return errno_error(errno, "descriptors of the control thread");
    SLUICE_TRY(watch(poll_, wake_.get()));
    SLUICE_TRY(watch(poll_, signals_.get()));
    SLUICE_TRY(watch(poll_, setup_.lcores.control_event()));
    SLUICE_TRY_ASSIGN(controller_,
                      Controller::make(setup_.routing,
                                       [this](const Forwarding* now, std::unique_ptr<const Forwarding> before) {
                                           replaced(now, std::move(before));
                                       },
                                       monotonic()));
    if (controller_->fd() >= 0) SLUICE_TRY(watch(poll_, controller_->fd()));
    note_routing();
    return {};
}

void ControlLoop::run(const std::stop_token& stop) {
    setup_.eal.leave_lcores();
    std::array<epoll_event, kMaxEvents> events{};
    while (!stop.stop_requested()) {
        const int count = epoll_wait(poll_.get(), events.data(), kMaxEvents, timeout_ms(monotonic()));
        bool news = false;
        for (int i = 0; i < count; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (fd == wake_.get() || fd == setup_.lcores.control_event()) clear_event(fd);
            if (fd == signals_.get()) look_at_signals();
            news = news || fd == controller_->fd();
        }
        const Milliseconds now = monotonic();
        setup_.lcores.control_awake();
        take_frames(now);
        run_posted();
        if (news || controller_->next_tick(now) <= now) controller_->tick(now);
        send_frames();
        free_retired();
        note_routing();
        for (const auto& complaint : controller_->take_complaints()) log::warn(kComponent, "{}", complaint);
    }
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    run_posted();  // whoever waits is let go
}

int ControlLoop::timeout_ms(Milliseconds now) const {
    // What is retired is looked at again soon, and freed then.
    if (!retired_.empty()) return 1;
    const auto left = (controller_->next_tick(now) - now).count();
    return static_cast<int>(std::clamp<long>(left, 0, kLongestSleepMs));
}

void ControlLoop::look_at_signals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
        setup_.signalled(static_cast<int>(info.ssi_signo));
    }
}

void ControlLoop::take_frames(Milliseconds now) {
    std::array<rte_mbuf*, kControlBurst> frames;
    // As many as the ring holds, so that a flood does not keep the thread from everything else.
    for (std::uint32_t taken = 0; taken < kControlFrames;) {
        const std::uint32_t count = setup_.lcores.take_control(frames.data(), kControlBurst);
        if (count == 0) return;
        taken += count;
        for (std::uint32_t i = 0; i < count; ++i) handle(frames[i], now);
    }
    clear_event(wake_.get());
    const std::uint64_t one = 1;
    static_cast<void>(!write(wake_.get(), &one, sizeof(one)));  // there may be more
}

void ControlLoop::handle(rte_mbuf* mbuf, Milliseconds now) {
    counters_.frames.add(1);
    const FrameNote note = *note_of(mbuf);
    Frame frame;
    frame.data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    frame.length = mbuf->data_len;
    frame.headroom = rte_pktmbuf_headroom(mbuf);
    frame.tailroom = rte_pktmbuf_tailroom(mbuf);
    frame.interface = note.interface;
    frame.out = note.out;
    frame.neighbour = note.neighbour;
    if (note.unresolved) {
        counters_.unresolved.add(1);
        frame.verdict = Verdict::kUnresolved;
        controller_->on_unresolved(frame, now);
        rte_pktmbuf_free(mbuf);
        return;
    }
    const auto outcome = controller_->on_control_frame(frame, now);
    mbuf->data_off = static_cast<std::uint16_t>(frame.data - static_cast<std::uint8_t*>(mbuf->buf_addr));
    mbuf->data_len = static_cast<std::uint16_t>(frame.length);
    mbuf->pkt_len = frame.length;
    std::uint16_t port = kNoPort;
    if (outcome == Controller::Outcome::kReply) {
        counters_.replies.add(1);
        port = setup_.port_of[note.interface];
    } else if (outcome == Controller::Outcome::kKernel) {
        port = setup_.exception_of[note.interface];
        (port == kNoPort ? counters_.no_exception : counters_.to_kernel).add(1);
    } else {
        counters_.dropped.add(1);
    }
    if (port == kNoPort || !setup_.lcores.send(port, mbuf)) rte_pktmbuf_free(mbuf);
}

void ControlLoop::send_frames() {
    for (const OutFrame& frame : controller_->take_frames_to_send()) {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(setup_.lcores.pool());
        if (mbuf == nullptr) {
            counters_.no_buffer.add(1);
            continue;
        }
        char* data = rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.bytes.size()));
        if (data == nullptr) {
            counters_.no_buffer.add(1);
            rte_pktmbuf_free(mbuf);
            continue;
        }
        std::memcpy(data, frame.bytes.data(), frame.bytes.size());
        if (!setup_.lcores.send(setup_.port_of[frame.interface], mbuf)) rte_pktmbuf_free(mbuf);
    }
}

void ControlLoop::replaced(const Forwarding* now, std::unique_ptr<const Forwarding> before) {
    setup_.lcores.publish(now);
    if (before == nullptr) return;
    if (retired_.size() >= kMaxRetiredSnapshots) {
        // Lcores sleep or pass a quiescent state many times a second; if one does not, memory must not grow for it.
        if (setup_.lcores.grace().wait()) retired_.clear();
    }
    retired_.emplace_back(setup_.lcores.grace().begin(), std::move(before));
}

void ControlLoop::free_retired() {
    while (!retired_.empty() && setup_.lcores.grace().passed(retired_.front().first)) retired_.pop_front();
}

void ControlLoop::note_routing() {
    const std::lock_guard lock(routing_mutex_);
    routing_ = controller_->counters();
}

RoutingCounters ControlLoop::routing() const {
    const std::lock_guard lock(routing_mutex_);
    return routing_;
}

bool ControlLoop::call(std::function<void(Controller&)> work) {
    auto done = std::make_shared<std::promise<bool>>();
    auto result = done->get_future();
    {
        const std::lock_guard lock(mutex_);
        if (ended_ || posted_.size() >= kMaxPosted) return false;
        posted_.emplace_back([this, done, work = std::move(work)] {
            work(*controller_);
            done->set_value(true);
        });
    }
    const std::uint64_t one = 1;
    static_cast<void>(!write(wake_.get(), &one, sizeof(one)));
    return result.get();
}

void ControlLoop::run_posted() {
    std::vector<std::function<void()>> posted;
    {
        const std::lock_guard lock(mutex_);
        posted.swap(posted_);
    }
    for (const auto& work : posted) work();
}

}  // namespace sluice::dpdk

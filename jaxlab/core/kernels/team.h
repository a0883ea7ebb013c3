// A team of threads for the stages of one call, on XLA's own thread pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "xla/ffi/api/ffi.h"

namespace jaxlab {

// The caller works too and never waits for a thread that has not started, so a busy
// pool cannot deadlock. Members spin between stages: stages follow each other within
// microseconds, and waking a sleeping thread would take longer than most of them.
class Team {
 public:
  explicit Team(xla::ffi::ThreadPool& pool, int64_t most = 64)
      : shared_(std::make_shared<Shared>()) {
    size_ = std::clamp<int64_t>(pool.num_threads(), 1, most);
    for (int64_t i = 1; i < size_; ++i) {
      pool.Schedule([shared = shared_, i] { Member(*shared, i); });
    }
  }
  ~Team() { shared_->stage.store(kEnd, std::memory_order_release); }
  Team(const Team&) = delete;

  int64_t size() const { return size_; }

  // Calls f(task, member) for each task in [0, num_tasks), in any order; returns when
  // all are done. What one stage wrote, the next one sees.
  template <typename F>
  void Run(int64_t num_tasks, const F& f) {
    if (size_ == 1 || num_tasks <= 1) {
      for (int64_t i = 0; i < num_tasks; ++i) f(i, 0);
      return;
    }
    Shared& s = *shared_;
    s.call = [](const void* f, int64_t task, int64_t member) {
      (*static_cast<const F*>(f))(task, member);
    };
    s.f = &f;
    s.done.store(0, std::memory_order_relaxed);
    // Ticket and limit live in one word, so that a late member of the last stage can
    // never take a task of this one under the last one's terms.
    s.tickets.store(num_tasks << 32, std::memory_order_release);
    s.stage.fetch_add(1, std::memory_order_release);
    Work(s, 0);
    for (int spins = 0; s.done.load(std::memory_order_acquire) < num_tasks;) {
      Pause(++spins);
    }
    if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
  }

 private:
  static constexpr int64_t kEnd = INT64_MAX;

  struct Shared {
    alignas(64) std::atomic<int64_t> stage{0};
    alignas(64) std::atomic<int64_t> tickets{0};  // limit << 32 | next
    alignas(64) std::atomic<int64_t> done{0};
    void (*call)(const void*, int64_t, int64_t) = nullptr;
    const void* f = nullptr;
    std::mutex mutex;
    std::exception_ptr error;  // the first one of the stage
  };

  static void Pause(int spins) {
#if defined(__x86_64__)
    if (spins % 4096) return __builtin_ia32_pause();
#endif
    std::this_thread::yield();
  }

  static void Work(Shared& s, int64_t member) {
    for (;;) {
      int64_t old = s.tickets.load(std::memory_order_acquire);
      do {
        if ((old & 0xffffffff) >= (old >> 32)) return;
      } while (!s.tickets.compare_exchange_weak(old, old + 1,
                                                std::memory_order_acq_rel));
      // A ticket keeps the stage open: Run cannot return before it is done.
      try {
        s.call(s.f, old & 0xffffffff, member);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(s.mutex);
        if (!s.error) s.error = std::current_exception();
      }
      s.done.fetch_add(1, std::memory_order_acq_rel);
    }
  }

  static void Member(Shared& s, int64_t member) {
    int64_t seen = 0;
    for (int spins = 0;;) {
      const int64_t stage = s.stage.load(std::memory_order_acquire);
      if (stage == kEnd) return;
      if (stage == seen) {
        Pause(++spins);
        continue;
      }
      seen = stage;
      spins = 0;
      Work(s, member);
    }
  }

  std::shared_ptr<Shared> shared_;
  int64_t size_ = 1;
};

// Calls f; what it throws, such as a lack of memory, becomes an error of Python's.
template <typename F>
xla::ffi::Error Guarded(const F& f) {
  try {
    f();
  } catch (const std::exception& error) {
    return xla::ffi::Error(xla::ffi::ErrorCode::kResourceExhausted, error.what());
  }
  return xla::ffi::Error::Success();
}

}  // namespace jaxlab

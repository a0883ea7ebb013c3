// Memory that stays, in large pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace jaxlab {

// What is visited out of order, such as rows by tree nodes, would look up an address anew
// at each visit if pages had 4 kB.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Makes room, and forgets what it held if there was not enough.
  T* Reserve(size_t size) {
    if (size > size_) {
      std::free(data_);
      const size_t bytes = (size * sizeof(T) + kPage - 1) / kPage * kPage;
      data_ = static_cast<T*>(std::aligned_alloc(kPage, bytes));
      size_ = data_ ? size : 0;
      if (!data_) throw std::bad_alloc();
#if defined(__linux__)
      madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    }
    return data_;
  }
  T* data() const { return data_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  static constexpr size_t kPage = size_t{1} << 21;
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace jaxlab

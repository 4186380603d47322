// Where products of matrices find their operands.
//
// A *loader* splits a pair of indices into a Row, or column, and a Term, which changes once per step, and
// tells where the numbers lie, WIDTH at a time; zeros where there are none.
//   DEEP: they lie along the depth, k .. k + WIDTH - 1; else along the side, m .. m + WIDTH - 1.
//   Row row(int m), Term term(int k), void next(Term &, int step)
//   bool whole: the WIDTH lie side by side in memory, aligned, or there are none
//   const T *chunk(Row, Term): where, if whole; null: there are none
//   void some(Row, Term, T (&to)[WIDTH]): one by one, if not
#pragma once
#include "numbers.cuh"

// Four numbers of a loader, as floats.
template <class Loader>
DEV float4 load(const Loader &from, const typename Loader::Row &row,
                const typename Loader::Term &term) {
    if (from.whole) {
        const typename Loader::Number *const p = from.chunk(row, term);
        return p ? load4(p) : zeros4();
    }
    typename Loader::Number four[4];
    from.some(row, term, four);
    return make_float4(widen(four[0]), widen(four[1]), widen(four[2]), widen(four[3]));
}

// A matrix in rows, element (m, k) at [m][k].
template <class T, int WIDTH>
struct Rows {
    static constexpr bool DEEP = true;
    typedef T Number;
    const T *p;
    int m, k, pitch;
    bool whole;
    struct Row {
        const T *p;
    };
    struct Term {
        int k;
    };
    DEV_METHOD Rows(const T *p, int m, int k, int pitch)
        : p(p), m(m), k(k), pitch(pitch),
          whole(aligned<WIDTH>(p) && pitch % WIDTH == 0 && k % WIDTH == 0) {}
    DEV_METHOD Row row(int i) const { return {i < m ? p + (u64)i * pitch : nullptr}; }
    DEV_METHOD Term term(int k) const { return {k}; }
    DEV_METHOD void next(Term &term, int step) const { term.k += step; }
    DEV_METHOD const T *chunk(const Row &row, const Term &term) const {
        return row.p && term.k < k ? row.p + term.k : nullptr;
    }
    DEV_METHOD void some(const Row &row, const Term &term, T (&to)[WIDTH]) const {
        UNROLL
        for (int e = 0; e < WIDTH; e++)
            to[e] = row.p && term.k + e < k ? row.p[term.k + e] : T{};
    }
};

// A matrix in columns, element (m, k) at [k][m].
template <class T, int WIDTH>
struct Columns {
    static constexpr bool DEEP = false;
    typedef T Number;
    const T *p;
    int m, k, pitch;
    bool whole;
    struct Row {
        int m;
    };
    struct Term {
        int k;
    };
    DEV_METHOD Columns(const T *p, int m, int k, int pitch)
        : p(p), m(m), k(k), pitch(pitch),
          whole(aligned<WIDTH>(p) && pitch % WIDTH == 0 && m % WIDTH == 0) {}
    DEV_METHOD Row row(int i) const { return {i}; }
    DEV_METHOD Term term(int k) const { return {k}; }
    DEV_METHOD void next(Term &term, int step) const { term.k += step; }
    DEV_METHOD const T *chunk(const Row &row, const Term &term) const {
        return row.m < m && term.k < k ? p + (u64)term.k * pitch + row.m : nullptr;
    }
    DEV_METHOD void some(const Row &row, const Term &term, T (&to)[WIDTH]) const {
        const T *const from = p + (u64)term.k * pitch + row.m;
        UNROLL
        for (int e = 0; e < WIDTH; e++) to[e] = row.m + e < m && term.k < k ? from[e] : T{};
    }
};

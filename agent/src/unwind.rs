//! The unwinder that an agent in an image does not need.
//!
//! A panic ends the agent (`panic = "abort"`), and its tables for unwinding are left out of the binary (`release.ld`), so a
//! backtrace has no frames whoever walks the stack. The standard library asks for one all the same, and with it come LLVM's
//! libunwind and a reader of DWARF. Here are the functions that it asks: the linker takes them before those of the library,
//! and link-time optimisation sees that the callback of the walk is never called, so that everything behind it goes as well.
//!
//! Names and types are those of the Itanium C++ ABI, "Exception Handling", level I, as the crate `unwind` of the standard
//! library declares them.
#![allow(unsafe_code, reason = "symbols that the standard library calls have to be exported by name")]

use std::{
    ffi::{c_int, c_void},
    ptr,
};

/// `_URC_END_OF_STACK`: no frames.
const END_OF_STACK: c_int = 5;

macro_rules! without_unwinding {
    ($($name:ident($($argument:ty),*) -> $result:ty = $value:expr;)*) => {$(
        // SAFETY: only the standard library calls it, by this very name and type; it reads and writes nothing.
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $argument),*) -> $result {
            $value
        }
    )*};
}

type Context = *const c_void;

without_unwinding! {
    _Unwind_Backtrace(*const c_void, *const c_void) -> c_int = END_OF_STACK;
    _Unwind_GetIP(Context) -> usize = 0;
    _Unwind_GetIPInfo(Context, *const c_int) -> usize = 0;
    _Unwind_GetCFA(Context) -> usize = 0;
    _Unwind_FindEnclosingFunction(*const c_void) -> *const c_void = ptr::null();
    _Unwind_GetLanguageSpecificData(Context) -> *const c_void = ptr::null();
    _Unwind_GetRegionStart(Context) -> usize = 0;
    _Unwind_GetTextRelBase(Context) -> usize = 0;
    _Unwind_GetDataRelBase(Context) -> usize = 0;
    _Unwind_GetGR(Context, c_int) -> usize = 0;
    _Unwind_SetGR(Context, c_int, usize) -> () = ();
    _Unwind_SetIP(Context, usize) -> () = ();
    _Unwind_RaiseException(*const c_void) -> c_int = END_OF_STACK;
    _Unwind_DeleteException(*const c_void) -> () = ();
    _Unwind_Resume(*const c_void) -> () = std::process::abort();
}

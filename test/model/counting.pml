/* Closing and counting. Shard 0: delegable P, shard 1: Q. C child of P, G child of C (C delegable). One case.
 leases: 0=P 1=Q 2=C 3=G.  chunk u carries lease u (u 0,1 from scan; 2,3 from child listing; 4: scan chunk of shard 1 that also finds C with flag CSCAN)
 amendments: am[l].  PROGRESS per shard: exp, done, sealed.  CASE: closed, ver.
 flags: CROSS  child chunks are counted in the child's own shard (1) instead of the parent's (0)
        CSCAN  child C is also found by the scan of shard 1 (same identity)
        NOCLAIM no per-lease claim
        LATEC  C registers late (after P's fence); LATEJOIN: late lease joins PROGRESS if CASE read open (2 steps) / LATETX joins with CASE version bump / default: always separate amendment
        NOSWEEP no stuck-case sweep (only the writer of done/sealed checks)
        ONEREAD close check reads both PROGRESS in one step (unrealistic, for comparison)
   Code: functions/store/work.ts (expand, fenceChildren, finishChunk), store/units.ts (completeProgress), close/close.ts, sweep/sweep.ts (repair).
   Runs:
     holds slow -DFIX
     holds slow -DFIX -DCSCAN -DONEW
     breaks -DFIX -DNOSWEEP
     breaks -DFIX -DCSCAN -DNOCLAIM
*/
#ifndef CR
#define CR 1
#endif
byte crashes=CR;
byte chs[5]; byte ch[5]; /* 0 none 1 open 2 done */
byte exp[2]; byte done[2]; bit sealed[2];
bit closed; byte closes; byte ver;
bit pf[4]; /* child fence of lease l */ bit reg[4]; bit alive[4]; byte claim[4]; byte cnt[4]; byte am[4]; bit acked[4]; bit early[4];
bit regdone;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
#ifdef CROSS
#define SH(u) ((u)!=0)
#else
#define SH(u) ((u)==1 || (u)==4)
#endif
#define LEASE(u) (u - 2*(u==4))
bit kick; /* a stuck-case sweep is due whenever something may be closable */
#ifdef FIX   /* child chunk is counted in the shard of the unit that holds its parent, and joins only while that unit is open */
#define CS(u,k) chs[u]
#define JOINOK (ch[u]==1)
#else
#define CS(u,k) SH(k)
#define JOINOK true
#endif
#ifdef LATETX
#define VOK (ver==v)
#else
#define VOK true
#endif
#define KID (l+2-(l==2))
inline closecheck() {
#ifdef ONEREAD
  atomic { a = sealed[0] && exp[0]==done[0] && sealed[1] && exp[1]==done[1]; v=ver; CRASH };
  b=a;
#else
  atomic { v=ver; a = sealed[0] && exp[0]==done[0]; CRASH };
  if :: a -> atomic { b = sealed[1] && exp[1]==done[1]; CRASH } :: else -> b=0 fi;
#endif
  if :: a && b -> atomic { if :: (!closed && VOK) -> closed=1; closes++; printf("CLOSED\n");
      assert(ch[0]!=1 && ch[1]!=1 && ch[2]!=1 && ch[3]!=1 && ch[4]!=1) :: else -> kick=1 fi; CRASH } :: else fi
}
proctype Planner(byte s) { bit a,b; byte v;
again:
 if :: s==0 -> atomic { if :: ch[0]==0 -> ch[0]=1; exp[0]++; printf("plan P\n") :: else fi; CRASH }
    :: else -> atomic { if :: ch[1]==0 -> ch[1]=1; chs[1]=1; exp[1]++; printf("plan Q\n") :: else fi; CRASH };
#ifdef CSCAN
      atomic { if :: reg[2] && ch[4]==0 && !sealed[1] -> ch[4]=1; chs[4]=1; exp[1]++; printf("plan C from scan\n") :: else fi; CRASH }
#endif
 fi;
 atomic { sealed[s]=1; printf("sealed %d\n",s); CRASH };
 closecheck(); goto fin;
dead: goto again;
fin: a=0; b=0; v=0
}
proctype Worker() { byte u,l; bit mine; bit a,b; byte v; bit kid;
again:
end: atomic { if :: ch[0]==1 -> u=0 :: ch[1]==1 -> u=1 :: ch[2]==1 -> u=2 :: ch[3]==1 -> u=3 :: ch[4]==1 -> u=4 fi; l=LEASE(u) }
 atomic {
#ifdef NOCLAIM
  mine=1
#else
  if :: claim[l]==0 || claim[l]==u+1 -> claim[l]=u+1; mine=1 :: else -> mine=0 fi
#endif
  ; printf("W%d takes chunk %d lease %d mine %d\n",_pid,u,l,mine); CRASH }
 if :: mine && (l==0 || l==2) ->
    atomic { pf[l]=1; CRASH };
    atomic { kid = reg[KID]; CRASH };
    if :: kid -> atomic { if :: (ch[KID]==0 && JOINOK) -> ch[KID]=1; chs[KID]=CS(u,KID); exp[chs[KID]]++; printf("W%d child of %d joins\n",_pid,l) :: else fi; CRASH } :: else fi
 :: else fi;
 if :: mine -> atomic { alive[l]=0; CRASH } :: else fi;
 atomic { if :: ch[u]==1 -> ch[u]=2; done[chs[u]]++; if :: mine -> cnt[l]++; assert(cnt[l]<=1) :: else fi; printf("W%d chunk %d done\n",_pid,u) :: else fi; CRASH };
 closecheck();
 atomic { u=0;l=0;mine=0;a=0;b=0;v=0;kid=0; goto again };
dead: atomic { u=0;l=0;mine=0;a=0;b=0;v=0;kid=0;
#ifndef NOSWEEP
  kick=1;
#endif
  goto again }
}
proctype Sweep() { bit a,b; byte v; byte l;
again:
end: atomic { if :: kick && sealed[0] && sealed[1] && exp[0]==done[0] && exp[1]==done[1] && !closed -> kick=0; l=9
             :: am[2]==1 -> l=2 fi }   /* adversarial moment; also works amendments */
 if :: l==9 -> closecheck() :: else -> atomic { if :: claim[l]==0 || claim[l]==8 -> claim[l]=8; alive[l]=0; cnt[l]++; assert(cnt[l]<=1) :: else fi; am[l]=2; printf("amendment %d done\n",l) } fi;
 atomic {a=0;b=0;v=0;l=0; goto again };
dead: atomic { kick=1; goto again }
}
proctype RegC() { bit f,c;   /* registrar of C (and G under C) */
 atomic { reg[2]=1; printf("C recorded\n") };
 atomic { f=pf[0] };
 if :: !f -> acked[2]=1
 :: else ->
#ifdef LATEJOIN
   atomic { c=closed };
   if :: !c -> atomic { if :: ch[2]==0 -> ch[2]=1; chs[2]=SH(2); exp[SH(2)]++; printf("C late joins\n") :: else fi }
      :: else -> atomic { am[2]=1; printf("C amends\n") } fi
#else
#ifdef LATETX
   atomic { if :: !closed -> ver++; if :: ch[2]==0 -> ch[2]=1; chs[2]=SH(2); exp[SH(2)]++; printf("C late joins (tx)\n") :: else fi :: else -> am[2]=1; printf("C amends\n") fi }
#else
   atomic { if :: am[2]==0 -> am[2]=1; printf("C amends\n") :: else fi }
#endif
#endif
 fi
}
init { atomic { alive[0]=1;alive[1]=1;alive[2]=1;
#ifndef LATEC
  alive[3]=1; reg[2]=1; reg[3]=1;
#endif
  reg[0]=1; reg[1]=1;
  run Planner(0); run Planner(1); run Worker();
#ifndef ONEW
  run Worker();
#endif
  run Sweep();
#ifdef LATEC
  run RegC();
#endif
 }
 timeout;
 printf("end closed %d cnt %d %d %d %d\n",closed,cnt[0],cnt[1],cnt[2],cnt[3]);
 assert(closed && closes==1);
 assert(!alive[0] && !alive[1]);
 assert(!reg[2] || (!alive[2] && cnt[2]==1)); assert(!reg[3] || (!alive[3] && cnt[3]==1));
}
